#!/usr/bin/python3
"""mkoci.py OUT.tar NAME:TAG ROOT.tar [CONFIG]: wrap one root file system as an OCI image archive for `ctr images import`.

CONFIG is the "config" object of the OCI image specification as JSON, for example {"Entrypoint": ["/pause"]}.
"""
import hashlib
import io
import json
import os
import sys
import tarfile

MEDIA = "application/vnd.oci.image."
DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def add_bytes(archive, path, data):
    member = tarfile.TarInfo(path)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def add_json(archive, value):
    """Store the value as a blob; return its descriptor without the media type."""
    data = json.dumps(value).encode()
    digest = hashlib.sha256(data).hexdigest()
    add_bytes(archive, f"blobs/sha256/{digest}", data)
    return {"digest": f"sha256:{digest}", "size": len(data)}


def add_layer(archive, path):
    with open(path, "rb") as layer:
        digest = hashlib.file_digest(layer, "sha256").hexdigest()
        layer.seek(0)
        member = tarfile.TarInfo(f"blobs/sha256/{digest}")
        member.size = os.path.getsize(path)
        archive.addfile(member, layer)
    return {"digest": f"sha256:{digest}", "size": member.size, "mediaType": MEDIA + "layer.v1.tar"}


def write_image(out, name, root, config):
    config.setdefault("Env", [DEFAULT_PATH])
    platform = {"architecture": "amd64", "os": "linux"}
    with tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as archive:
        add_bytes(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        layer = add_layer(archive, root)
        image = {**platform, "config": config, "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}}
        manifest = {"schemaVersion": 2, "mediaType": MEDIA + "manifest.v1+json", "layers": [layer],
                    "config": {**add_json(archive, image), "mediaType": MEDIA + "config.v1+json"}}
        names = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rsplit(":", 1)[1]}
        entry = {**add_json(archive, manifest), "mediaType": MEDIA + "manifest.v1+json", "platform": platform, "annotations": names}
        add_bytes(archive, "index.json", json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode())


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    write_image(*sys.argv[1:4], json.loads(sys.argv[4]) if len(sys.argv) == 5 else {})
