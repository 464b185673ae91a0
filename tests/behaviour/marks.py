"""Which tests run where, and why some cannot."""
import pytest

import machine
from driver import SANITIZER

SECRET = "pl1nth-s3cret-m4rker"  # in no log, no error, no command line, ever

on_both_pools = pytest.mark.parametrize("disk", ["reflink", "plain"], indirect=True)
on_plain = pytest.mark.parametrize("disk", ["plain"], indirect=True)

MAY_GROW_MOUNTED_EXT4 = machine.has_capability(machine.CAP_SYS_RESOURCE)
needs_sys_resource = pytest.mark.skipif(
    not MAY_GROW_MOUNTED_EXT4, reason="no CAP_SYS_RESOURCE here, without which the kernel grows no mounted ext4")
without_sys_resource = pytest.mark.skipif(
    MAY_GROW_MOUNTED_EXT4, reason="there is CAP_SYS_RESOURCE here, so the kernel refuses no growth of a mounted ext4")
without_sanitizer = pytest.mark.skipif(
    SANITIZER is not None, reason="a sanitizer needs memory of its own, so the limit says nothing")
