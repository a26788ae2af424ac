"""Two hosts: the same bits, and neither a dead rank nor a dead or frozen host hangs a job (Open MPI 5, Linux, root).

The hosts are network namespaces of this machine, joined by a bridge; a script stands for ssh.
"""

import json
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from distcnn.numerics import NUMERICS
from tests.helpers import jobs
from tests.helpers.digests import GOLDEN, digest
from tests.programs import chaos

NET = "10.77.0"
HOSTS = f"{NET}.1", f"{NET}.2"
BRIDGE = "distcnn-net"
AGENT = """#!/bin/bash
host=$1; shift
exec ip netns exec $host unshare --uts bash -c "hostname host-${host##*.}; $*"
"""
SETTINGS = {
    "PRTE_MCA_prte_if_include": f"{NET}.0/24",
    "OMPI_MCA_btl": "self,sm,tcp",
    "OMPI_MCA_btl_tcp_if_include": f"{NET}.0/24",
}
LAUNCHER = (  # the launcher, but with faults planted in training
    "import sys; from distcnn import launch; words = [sys.executable, sys.argv.pop(1), sys.argv.pop(1)]; "
    "launch.train_command = lambda: words; sys.exit(launch.main())"
)
MANY = 10_000  # steps, of a job that ends otherwise


def ip(*words):
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True)


def remove():
    """Remove the hosts, also those of a run that was killed."""
    for words in (*(("netns", "del", host) for host in HOSTS), ("link", "del", BRIDGE)):
        with suppress(subprocess.CalledProcessError):
            ip(*words)


def make():
    """Make two hosts with an address each, on one bridge."""
    ip("link", "add", BRIDGE, "type", "bridge")
    ip("addr", "add", f"{NET}.254/24", "dev", BRIDGE)
    ip("link", "set", BRIDGE, "up")
    for k, host in enumerate(HOSTS):
        ip("netns", "add", host)
        ip("link", "add", f"distcnn-{k}", "type", "veth", "peer", "name", "eth0", "netns", host)
        ip("link", "set", f"distcnn-{k}", "master", BRIDGE, "up")
        ip("-n", host, "addr", "add", f"{host}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            ip("-n", host, "link", "set", device, "up")


@pytest.fixture(scope="module")
def hosts():
    if not jobs.tolerant():
        pytest.skip("only Open MPI 5 survives the death of a rank")
    if os.geteuid() or not shutil.which("ip") or not shutil.which("unshare"):
        pytest.skip("hosts are made by root, with ip and unshare")
    remove()
    try:
        make()
    except subprocess.CalledProcessError as error:
        remove()
        pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
    yield
    remove()


@pytest.fixture
def train(hosts, tmp_path):
    """Train on two ranks a host, with faults planted; return the ended job."""
    agent = tmp_path / "agent"
    agent.write_text(AGENT)
    agent.chmod(0o700)

    def command(faults, *options, steps=20, launched=False):
        where = "--bind-to", "none", "--host", ",".join(f"{host}:2" for host in HOSTS)
        words = [*options, "--out", "run", "--progress", "none", "--max-steps", steps]
        how = {"env": SETTINGS | {"PRTE_MCA_plm_ssh_agent": agent}, "cwd": tmp_path}
        if launched:
            launcher = "python", "-c", LAUNCHER, chaos.FAULTS, faults, "-n", 4, "--mpirun", " ".join(where)
            return jobs.run(*launcher, "--", *words, **how)
        return jobs.survivable(4, *where, "python", chaos.FAULTS, faults, *words, **how)

    return command


FAULTS = {
    "nothing": ("slow@step:0:19", []),
    "a rank, then rank 0's host": ("death@step:3:5,death@step:0:10,death@step:1:10", [0, 1, 3]),
    "rank 0, then a host": ("death@step:0:5,death@step:2:10,death@step:3:10", [0, 2, 3]),
}


@pytest.mark.mpirun
@pytest.mark.parametrize(("faults", "dead"), FAULTS.values(), ids=FAULTS)
def test_the_death_of_ranks_or_of_a_host_costs_no_bit(train, tmp_path, faults, dead):
    done = train(faults)
    assert digest(done) == GOLDEN[NUMERICS], jobs.show(done)
    assert {int(rank) for found in chaos.MESSAGE.findall(done.stderr) for rank in found[0].split(",")} == set(
        dead
    )
    records = Path(tmp_path, "run/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["ranks"] for line in records][-1] == 4 - len(dead)


@pytest.mark.mpirun
def test_a_frozen_host_ends_the_job(train):
    """No rank of it is left to see, and MPI cannot shrink: the job ends, for a launcher to start it again."""
    done = train("freeze@step:2:5,freeze@step:3:5", "--hang-timeout", 5, steps=MANY)
    assert done.returncode
    assert "as if a whole host had stopped" in done.stderr
    assert "weights_sha256" not in done.stdout


@pytest.mark.mpirun
def test_after_a_host_has_frozen_the_launcher_goes_on(train, tmp_path):
    faults, options = (
        "freeze_once@step:2:10,freeze_once@step:3:10",
        ["--hang-timeout", 5, "--checkpoint-every", 3],
    )
    done = train(faults, *options, launched=True)
    assert digest(done) == GOLDEN[NUMERICS], jobs.show(done)
    assert "as if a whole host had stopped" in done.stderr
    assert "restart 1 of 100, from step 9\n" in done.stderr, done.stderr
    assert sorted(path.name for path in tmp_path.glob("frozen-*")) == ["frozen-2", "frozen-3"]
