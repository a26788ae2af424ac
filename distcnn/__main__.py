"""The command `distcnn VERB ...`, the same as `python -m distcnn VERB ...` and `python -m distcnn.VERB ...`."""

from __future__ import annotations

import runpy
import sys

from distcnn.config.hints import suggestion
from distcnn.config.versions import answer_version, show_versions

VERBS = {
    "train": "train a network",
    "evaluate": "measure loss and accuracy of a checkpoint",
    "predict": "predict classes with a checkpoint",
    "verify": "train the last steps of a run again and compare the bits",
    "launch": "train on several ranks, and restart jobs that fail",
    "data": "make a dataset, or show its contents",
    "models": "list the models, or look at a network",
    "export": "write a trained net to a file of ONNX or PyTorch",
    "bench": "measure the speed of kernels with several tile sizes",
}
OTHER_VERBS = {
    "fit": "train",
    "run": "launch",
    "resume": "train",
    "eval": "evaluate",
    "test": "evaluate",
    "validate": "evaluate",
    "infer": "predict",
    "inference": "predict",
    "check": "verify",
    "import": "data",
    "info": "data",
    "show": "data",
    "benchmark": "bench",
}
USAGE_ERROR = 2  # the exit code


def usage() -> str:
    """Return the help text of the command."""
    lines = [f"  {verb:<10} {text}" for verb, text in VERBS.items()]
    head = ["usage: distcnn VERB ...", "       distcnn --help | --version | --show-versions"]
    tail = (
        "distcnn VERB --help shows the options of a verb; --show-versions prints what an error report needs."
    )
    return "\n".join([*head, "", *lines, "", tail])


def main() -> int | None:
    """Run the command that the first word of the command line names; return the exit code, None for 0."""
    verb, *words = sys.argv[1:] or [""]
    if verb in VERBS:
        sys.argv = [f"distcnn {verb}", *words]
        runpy.run_module(f"distcnn.{verb}", run_name="__main__", alter_sys=True)
    elif verb in ("-h", "--help"):
        print(usage())
    elif verb in ("--show-versions", "show-versions"):
        show_versions()
    elif verb in ("--version", "version"):
        answer_version(["--version"])
    elif not verb:
        print(usage(), file=sys.stderr)
        return USAGE_ERROR
    else:
        near = f", did you mean {OTHER_VERBS[verb]}?" if verb in OTHER_VERBS else suggestion(verb, VERBS)
        print(f"distcnn: error: unknown verb {verb!r}{near or '; see distcnn --help'}", file=sys.stderr)
        return USAGE_ERROR
    return None


if __name__ == "__main__":
    sys.exit(main())
