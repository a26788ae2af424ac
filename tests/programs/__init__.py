"""Programs that tests start, and that a person may: `python -m tests.programs.chaos` from the repository's root."""

from pathlib import Path

FAULTS, DISK_FAULTS, GUARDED, MUTATIONS = (
    Path(__file__).with_name(f"{name}.py") for name in ("faults", "disk_faults", "guarded", "mutations")
)
