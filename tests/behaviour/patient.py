"""A client that waits for copies as Kubernetes' sidecars do."""
import time

from client import Client, until_ok


class PatientClient(Client):
    """Repeats calls that wait for a copy, until it is done."""
    seconds = 30

    def create(self, *arguments, **more):
        return until_ok(lambda: super(PatientClient, self).create(*arguments, **more), self.seconds)

    def snapshot(self, name, volume_id, **more):
        return self.until_ready(lambda: super(PatientClient, self).snapshot(name, volume_id, **more))

    def group(self, name, volume_ids, **more):
        return self.until_ready(lambda: super(PatientClient, self).group(name, volume_ids, **more))

    def delete(self, volume_id):
        until_ok(lambda: super(PatientClient, self).delete(volume_id), self.seconds)

    def delete_snapshot(self, snapshot_id):
        until_ok(lambda: super(PatientClient, self).delete_snapshot(snapshot_id), self.seconds)

    def delete_group(self, group):
        until_ok(lambda: super(PatientClient, self).delete_group(group), self.seconds)

    def until_ready(self, call):
        end = time.monotonic() + self.seconds
        while not (made := until_ok(call, self.seconds)).ready_to_use:
            assert time.monotonic() < end, f"never ready: {made}"
            time.sleep(0.05)
        return made
