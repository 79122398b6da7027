# SPDX-License-Identifier: Apache-2.0
"""A project nobody here wrote, Debian's bzip2, optimised through the `make` profile from YAML alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.install.places import newcomer, typed

SOURCE = "bzip2"
# Text as compressors meet it, drawn from the seed; what is timed is between the two lines.
COMMAND = """
data=$(mktemp)
awk -v seed="$HMOPT_SEED" -v lines="$HMOPT_SIZE" 'BEGIN {
  srand(seed)
  for (line = 0; line < lines; line++) print int(rand() * 99999), "word" int(rand() * 300), line
}' >"$data"
echo begin
for i in $(seq "$HMOPT_REPS"); do "$HMOPT_IMAGE" -c "$data" | cksum; done
echo end
"""


def deb_src() -> str | None:
    """Return a sources list of this distribution's sources, or None when none can be told."""
    lists = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*.list"))]
    lines = [line for path in lists if path.exists() for line in path.read_text().splitlines()]
    found = [re.sub(r"^deb\b", "deb-src", line) for line in lines if re.match(r"deb\s", line)]
    for path in sorted(Path("/etc/apt/sources.list.d").glob("*.sources")):
        for stanza in path.read_text().split("\n\n"):
            keys = dict(re.findall(r"^(\w[\w-]*):[ \t]*(.*)$", stanza, re.MULTILINE))
            if "deb" in keys.get("Types", "").split():
                signed = f"[signed-by={keys['Signed-By']}] " if keys.get("Signed-By", "").startswith("/") else ""
                found += [
                    f"deb-src {signed}{uri} {suite} {keys.get('Components', '')}"
                    for uri in keys["URIs"].split()
                    for suite in keys["Suites"].split()
                ]
    return "\n".join(found) + "\n" if found else None


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the unpacked upstream source, downloaded by apt, which checks its signatures."""
    listed = deb_src()
    if shutil.which("apt-get") is None or listed is None:
        pytest.skip("needs apt-get and its sources")
    place = tmp_path_factory.mktemp("source")
    (place / "sources.list").write_text(listed)
    (place / "lists/partial").mkdir(parents=True)
    own = ["-o", f"Dir::Etc::SourceList={place}/sources.list", "-o", "Dir::Etc::SourceParts=/dev/null",
           "-o", f"Dir::State::Lists={place}/lists", "-o", "APT::Sandbox::User=root"]  # fmt: skip
    for words in (["update"], ["source", "--download-only", SOURCE]):
        done = subprocess.run(["apt-get", "-q", *own, *words], cwd=place, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (done.stdout, done.stderr)
    (archive,) = place.glob(f"{SOURCE}_*.orig.tar.*z*")
    (place / "unpacked").mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", place / "unpacked"], check=True)
    (top,) = (place / "unpacked").iterdir()
    return top


def filled_in(profile: str) -> str:
    """Fill in the profile's slots, as a person with an editor does."""
    for slot, value in (
        ('"<slot: the built program, for example src/prog>"', SOURCE),
        ('"<slot: what is timed, in one line>"', "compress text"),
        ("inputs: {size: 1000, repetitions: 100, ", "inputs: {size: 4000, repetitions: 12, "),
        ("""'"$HMOPT_IMAGE" <slot: arguments that use $HMOPT_SEED, $HMOPT_SIZE and $HMOPT_REPS>'""", "&run RUN"),
        ("metrics: {time: {kind: time, from: wall}}\n",
         "markers: {begin: '^begin$', end: '^end$'}\n        metrics: {time: {kind: time, from: wall}}\n"),
        ("""'"$HMOPT_IMAGE" <slot: the same arguments>'""", "*run"),
        ("""'"$HMOPT_IMAGE" <slot: the same arguments>'""", "*run"),
        ("target: [check]", "target: [test]"),
    ):  # fmt: skip
        assert slot in profile, slot
        profile = profile.replace(slot, value, 1)
    return profile.replace("&run RUN", "&run |" + COMMAND.rstrip().replace("\n", "\n          "), 1)


@pytest.mark.slow
def test_it_is_optimised_from_yaml_alone(source: Path, tmp_path: Path) -> None:
    environment = newcomer(
        tmp_path / "home", HMOPT_MEASURE_LAYOUTS="6", HMOPT_MEASURE_BOOTS="4", HMOPT_MEASURE_NULL_PATCHES="1",
        GIT_AUTHOR_NAME="T", GIT_AUTHOR_EMAIL="t@example.org", GIT_COMMITTER_NAME="T",
        GIT_COMMITTER_EMAIL="t@example.org", PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    )  # fmt: skip

    def ok(command: str) -> str:
        done = typed(command, source, environment)
        assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-3000:])
        return done.stdout

    ok("git init -q && git add --all --force && git commit -qm 'as Debian has it' && git hmopt init --profile make")
    profile = source / ".hmopt.yaml"
    profile.write_text(filled_in(profile.read_text()))
    assert "<slot" not in json.dumps(yaml.safe_load(profile.read_text()))
    ok("git add .hmopt.yaml && git commit -qm 'how it is built, tested and measured' && git hmopt trust")
    done = typed("git hmopt optimize --workload main --iterations 2 --seed 5 --json", source, environment)
    assert done.returncode in (0, 1), (done.stdout[-2000:], done.stderr[-3000:])
    story = json.loads(done.stdout)["story"]
    assert story["status"] == "succeeded"
    print(ok("git hmopt show"))
    judged = [one["evaluation"] for one in story["iterations"] if one.get("evaluation")]
    assert judged and all(one["verdict"] and one["reason"] for one in judged)
    # The compressor's own functions are hot, and were found in its own files.
    hot = {one["file"] for one in story["hotspots"]}
    assert hot & {"blocksort.c", "compress.c", "huffman.c"}, hot
    # Time was measured over layouts: the link of somebody else's Makefile was repeated.
    timed = [delta for one in judged for delta in one["deltas"] if delta["metric"] == "time"]
    assert not timed or all(delta["layout_controlled"] for delta in timed)
    measured = ok("git log --all --notes=hmopt/metrics --format=%N")
    assert '"name":"time"' in measured and '"name":"instructions"' in measured
