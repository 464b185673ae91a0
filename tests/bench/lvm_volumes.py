"""Prints lvm(8) commands for its standard input that fill a volume group with volumes of Plinth's.

usage: lvm_volumes.py FIRST END

Half of them are thin, half thick; all are inactive, as volumes are that no pod uses. They carry the tags that Plinth
gives to the volumes it makes (docs/lvm.md), as its memory depends on what is in them. The bench checks that Plinth
lists them all, so that a mistake here cannot make a node look small.
"""
import hashlib
import sys
import uuid

VG, THIN_POOL, POOL_ID, NODE = "bench", "tp", "be9c4be9c4be", "bench"


def digest(text, digits):
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def volume(number):
    """The command that makes volume `number`."""
    thick = number % 2 == 0
    name = "pvc-" + str(uuid.uuid5(uuid.NAMESPACE_OID, str(number)))
    identity = f"{POOL_ID}-{digest(NODE, 8)}-{digest(name, 20)}"
    head = f"rv-{'t' if thick else ''}:{1_700_000_000_000_000_000 + number:x}:{digest('', 32)}::::"
    rest = f"{name}:default/data-{number}"
    tag = f"plinth.1:{head}:{digest(f'{identity}:{head}:{rest}', 8)}:{rest}"
    space = f"-an -Zn -Wn -L 4m {VG}" if thick else f"-an -V 64m -T {VG}/{THIN_POOL}"
    return f"lvcreate -qq -y -ky --addtag {tag} -n {identity} {space}"


if __name__ == "__main__":
    for each in range(*map(int, sys.argv[1:])):
        print(volume(each))
