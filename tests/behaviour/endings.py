"""How tests end their drivers, in every suite."""
import sys


def tear_down(driver, damaged, forgiven=("in the pool: ",), **log):
    """Everything goes through the driver, as a client would have it; what is left then is a fault, but for what begins with
    one of the words `forgiven` where the test has damaged something."""
    if not driver.runs():
        driver.start()
    driver.release_everything()
    if not damaged:
        driver.csi.delete_everything()
    driver.stop()
    driver.check_log(**log)
    found = driver.leftovers()
    if damaged:
        found = [sentence for sentence in found if not sentence.startswith(forgiven)]
    assert not found, "left behind:\n" + "\n".join(found)


def end_all(drivers, request, end, force):
    """For a fixture that has made drivers: `end`, tear_down() as the suite wants it, for each that was started and not given
    up; then `force` for all."""
    damaged = next(request.node.iter_markers("damaged"), None) is not None
    try:
        for driver in drivers:
            if driver.process is not None and not getattr(driver, "given_up", False):
                end(driver, damaged)
    except BaseException as error:  # told before what may hang
        with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            print(f"\nENDING {request.node.nodeid}: {str(error)[-600:]}", file=sys.stderr, flush=True)
        raise
    finally:
        for driver in drivers:
            force(driver, request.node.name)
