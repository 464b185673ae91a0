"""The kinds of volumes: what a StorageClass says for each, and what logical volume that gives."""
import pytest

KINDS = {
    "thin": {"provisioning": "thin"},
    "linear": {"provisioning": "thick", "layout": "linear"},
    "striped": {"provisioning": "thick", "layout": "striped", "stripes": "2"},
    "raid1": {"provisioning": "thick", "layout": "raid1", "mirrors": "1"},
    "raid5": {"provisioning": "thick", "layout": "raid5", "stripes": "2"},
    "raid6": {"provisioning": "thick", "layout": "raid6", "stripes": "3"},
    "raid10": {"provisioning": "thick", "layout": "raid10", "stripes": "2", "mirrors": "1"},
}
LAYOUTS = {"thin": ("thin", 1), "linear": ("linear", 1), "striped": ("striped", 2), "raid1": ("raid1", 1), "raid5": ("raid5", 2),
           "raid6": ("raid6", 3), "raid10": ("raid10", 2)}

of_every_kind = pytest.mark.parametrize("kind", KINDS)
of_main_kinds = pytest.mark.parametrize("kind", ["thin", "linear", "raid1"])
thin_and_thick = pytest.mark.parametrize("kind", ["thin", "linear"])
thick = pytest.mark.parametrize("kind", ["linear"])
