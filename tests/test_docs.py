"""README and docs: every command and snippet runs, output that is shown is printed, links lead somewhere.

Commands run in the order of their page, in an empty folder with small data under the names that the pages use
(tests/helpers/sources.py). To be quick, training stops after STEPS steps where the command does not say when, and jobs
of more ranks than RANKS run on that many; neither changes a bit of what is compared. The first run of the README is
the exception: it runs to its end, as its digest is what two people compare. Commands on one rank are called in this
process, unless they only print or start others.
"""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from distcnn import layers
from distcnn.config.settings import SETTINGS, option
from distcnn.models import MODELS
from tests.helpers import pages, sources

STEPS, RANKS = 2, 2
PAGES = pages.pages()
LANGUAGES = {
    "sh": {"not run", "run as", "exits with"},
    "python": {"not run", "file", "appended to"},
    "toml": {"not run"},
    "text": {"not output", "file"},
}
FILES = {"file", "appended to"}  # written before anything runs, so that kernels are compiled once
LEFT_OUT = {"not run", "not output"} | FILES
CALLED = {  # the module with the command's main
    f"python -m distcnn.{name}": f"distcnn.{name}" for name in ("train", "evaluate", "predict", "verify")
} | {"python -m distcnn.data": "distcnn.data.__main__"}
# What is warned of after few steps, and of small data that no import has made.
EXPECTED = re.compile("is classified correctly|does not hold how its images were made")
FIRST_RUN = ["mpirun", "-n", "2", "python", "-m", "distcnn.train"]


def blocks_of(page, *languages):
    return [block for block in pages.blocks(page) if block.language in languages]


# ---- what runs ----


@pytest.fixture(scope="session")
def small_data(tmp_path_factory):
    """A folder with small data of every kind, to be copied."""
    folder = tmp_path_factory.mktemp("data")
    sources.make(folder)
    return folder


class Reader:
    """Somebody who types what a page says, from its first line to its last."""

    def __init__(self, run, here, folder):
        self.run, self.here, self.folder, self.printed = run, here, folder, ""
        here = Path(sys.executable).parent
        self.env = {"PATH": f"{here}{os.pathsep}{os.environ['PATH']}"}
        self.package = None
        self.modules = set()  # that the page writes; "distcnn" if it changes the package
        self.names = {"__name__": "page"}

    def shell(self, block):
        """Run the commands of a block; one that ends with another exit code than the page says fails the test."""
        self.printed, code = "", int(block.words) if block.mark == "exits with" else 0
        for words in block.commands:
            if words[0] == "export":
                self.env |= dict(word.split("=", 1) for word in words[1:])
                continue
            done = self.command(shortened(words))
            assert done.returncode == code, f"{block}: {' '.join(words)}\n{done.stdout}\n{done.stderr}"
            warnings = re.findall("distcnn: warning: .*", done.stderr)
            assert all(map(EXPECTED.search, warnings)), f"{block}: {' '.join(words)}\n{warnings}"
            self.printed += done.stdout + (done.stderr if code else "")

    def command(self, words):
        """Run a command, or call it."""
        module = CALLED.get(" ".join(words[:3]))
        if module and not self.package and "--version" not in words:
            return self.here(module, *words[3:])
        return self.run(*words, cwd=self.folder, env=self.env)

    def text(self, block):
        """Compare a block of text with what the last block of commands has printed."""
        assert re.fullmatch(pages.pattern(block.text), self.printed), f"{block}: printed was\n{self.printed}"

    def python(self, block):
        """Run a snippet with the names of those before.

        A snippet that imports what the page writes runs in a process of its own: also where the page changes a copy of
        the package, as the process uses the copy.
        """
        if self.modules & set(re.findall(r"^(?:import|from) (\w+)", block.text, re.MULTILINE)):
            snippet = self.folder / f"line_{block.line}.py"
            snippet.write_text(block.text)
            done = self.run("python", snippet, cwd=self.folder, env=self.env)
            assert done.returncode == 0, f"{block}:\n{done.stdout}\n{done.stderr}"
        else:
            exec(compile(block.text, str(block), "exec"), self.names)

    def change(self, block):
        """Write a block into a file of a copy of the package, which later commands use, or into the folder itself."""
        if self.package is None:
            self.package = self.folder / "repository"
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(pages.ROOT / "distcnn", self.package / "distcnn", ignore=ignored)
            self.env["PYTHONPATH"] = str(self.package)
        within = block.words.startswith("distcnn/")
        self.modules.add(re.split(r"[/.]", block.words)[0])
        path = (self.package if within else self.folder) / block.words
        assert path.exists() == (block.mark == "appended to"), f"{block}: {block.mark} {block.words}"
        with open(path, "a") as file:
            file.write(f"\n\n{block.text}" if block.mark == "appended to" else block.text)


def shortened(words):
    """Return a command that takes little time."""
    if words == FIRST_RUN:
        return words
    words = list(words)
    for k, word in enumerate(words[:-1]):
        if word == "-n" and words[k + 1].isdigit():
            words[k + 1] = str(min(int(words[k + 1]), RANKS))
    trains = "distcnn.train" in words or "distcnn.launch" in words
    if trains and not {"--max-steps", "--list-models", "--version", "--help"} & set(words):
        words += ["--max-steps", str(STEPS)]
    return words


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page, "sh", "python")])
def test_commands_and_snippets_run(page, run, here, small_data, tmp_path):
    made = re.findall(r"distcnn\.data import \S+ (\S+)", pages.read(page))
    shutil.copytree(small_data, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*made))
    for name in ("benchmarks", "launch"):
        (tmp_path / name).symlink_to(pages.ROOT / name)
    reader, found = Reader(run, here, tmp_path), pages.blocks(page)
    for block in found:
        if block.mark in FILES:
            reader.change(block)
    for block in found:
        if block.mark not in LEFT_OUT and block.language != "toml":
            {"sh": reader.shell, "text": reader.text, "python": reader.python}[block.language](block)


# ---- what is written ----


@pytest.mark.parametrize("page", PAGES)
def test_every_block_is_run_or_says_why_not(page):
    for block in pages.blocks(page):
        assert block.language in LANGUAGES, f"{block}: of language {block.language!r}"
        assert not block.mark or block.mark in LANGUAGES[block.language], f"{block}: {block.mark}"


@pytest.mark.parametrize("page", PAGES)
def test_code_is_fenced_and_nothing_is_html(page):
    text = pages.prose(page)
    assert not re.search(r"(?<=\n)\n(    |\t)(?! *[*\d-])", text), "an indented block: fence it"
    assert not re.search(r"</?[a-zA-Z][^>]*>", re.sub(r"`[^`]*`", "", text))
    assert [level for level, _ in pages.headings(page)].count(1) == 1
    marks = re.findall(r"<!--.*?-->", pages.read(page))
    allowed = {"<!-- benchmarks: made by draw.py -->", "<!-- end -->"}
    assert all(pages.MARK.fullmatch(mark) or mark in allowed for mark in marks)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    for target in pages.links(page):
        path, _, anchor = target.partition("#")
        if re.match(r"https?://", target):
            continue
        found = os.path.normpath(Path(page).parent / path) if path else page
        assert (pages.ROOT / found).exists(), f"{page}: {target}"
        assert not anchor or anchor in pages.anchors(found), f"{page}: {target}"


def test_the_readme_is_short_and_the_index_complete():
    assert len(pages.read("README.md").splitlines()) <= 150
    listed = [target for target in pages.links("docs/index.md") if "/" not in target]
    assert sorted(["index.md", *listed]) == sorted(path.name for path in (pages.ROOT / "docs").glob("*.md"))


def option_rows():
    """Return the rows of the table of options, as cells."""
    section = pages.read("docs/training.md").partition("## Options")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `--")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def options_of(text):
    return re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", text)


def test_the_table_has_every_option_with_its_default():
    found = {}
    for cells in option_rows():
        names, defaults = options_of(cells[0]), cells[2].split(", ")
        found |= dict(
            zip(names, defaults if len(defaults) == len(names) else [cells[2]] * len(names), strict=True)
        )
    assert {option(name) for name in SETTINGS} | {"--config", "--list-models", "--summary"} == set(found)
    for name, setting in SETTINGS.items():
        if isinstance(setting.default, int | float) and name != "threads":
            assert float(found[option(name)]) == setting.default, name
        elif isinstance(setting.default, str):
            assert found[option(name)].strip("`") == setting.default, name


# Of ruff, pytest, mpirun, Slurm, and the programs in tests/ and benchmarks/.
FOREIGN = {
    "--avx2",
    "--check",
    "--only",
    "--with-mpi",
    "--with-ft",
    "--hostfile",
    "--job-name",
    "--shm-size",
    "--random",
    "--trials",
    "--seeds",
}
# Of every command; and names that distcnn answers with its own.
GENERAL = {
    "--config",
    "--list-models",
    "--summary",
    "--version",
    "--show-versions",
    "--help",
    "--lr",
    "--device",
    "--optimiser",
}
COMMANDS = {
    "--best",
    "--input",
    "--json",
    "--softmax",
    "--sigmoid",
    "--self",
    "--split",
    "--force",
    "--max-restarts",
    "--start-limit",
    "--top",
    "--report",
    "--images",
    "--layout",
    "--map-labels",
    "--mpirun",
}
COMMANDS |= {
    "--size",
    "--gray",
    "--fit",
    "--pixels",
    "--skip-damaged",
    "--labels",
    "--label-column",
    "--test-split",
    "--gzip",
    "--chunk",
    "--processes",
}


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])
def test_no_page_names_an_option_that_does_not_exist(page):
    known = {option(name) for name in SETTINGS} | COMMANDS | FOREIGN | GENERAL
    assert [each for each in options_of(pages.read(page)) if each not in known] == []


def test_options_of_the_other_commands_exist():
    code = "".join(path.read_text() for path in (pages.ROOT / "distcnn").rglob("*.py"))
    assert [each for each in COMMANDS if f'"{each}"' not in code] == []


def test_every_layer_and_every_model_is_named():
    python, training = pages.read("docs/python.md"), pages.read("docs/training.md")
    assert [name for name in layers.__all__ if f"`{name}`" not in python] == []
    assert [name for name in MODELS if not re.search(rf"^{name} ", training, re.MULTILINE)] == []


def test_make_train_is_what_the_first_run_runs():
    makefile = (pages.ROOT / "Makefile").read_text()
    ranks = re.search(r"^RANKS \?= (\d+)$", makefile, re.MULTILINE)[1]
    recipe = re.search(r"(mpirun -n \$\(RANKS\) python -m distcnn\.train) \$\(OPTIONS\)", makefile)[1]
    assert recipe.replace("$(RANKS)", ranks).split() == FIRST_RUN
