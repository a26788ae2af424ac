"""Programs that tests start, and that a person may: `python -m tests.programs.chaos` from the repository's root."""

from pathlib import Path

HERE = Path(__file__).parent
FAULTS = HERE / "faults.py"
DISK_FAULTS = HERE / "disk_faults.py"
OUT_OF_BOUNDS = HERE / "out_of_bounds.py"
DAMAGED_FILES = HERE / "damaged_files.py"
DAMAGED_KERNELS = HERE / "damaged_kernels.py"
IN_PLACE = HERE / "in_place.py"
HOSTILE_SOURCES = HERE / "hostile_sources.py"
LOCK_CONTENDERS = HERE / "lock_contenders.py"
