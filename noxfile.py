"""Every check that a person or CI runs.

`nox -l` lists the sessions, `nox -s kernel-3.12 -- -k retry` runs one with arguments for its tool, `nox -r` keeps the
environments of the last run. A plain `nox` runs all checks and ends with one line that counts every test of the run.
"""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import nox

ROOT = Path(__file__).parent
# Ours among nox's folders, where no session's environment can be in the way.
OURS = ROOT / ".nox" / "dspex"
WHEELS = OURS / "wheels"
REPORTS = OURS / "reports"
CACHE = OURS / "cache"
RUNS = OURS / "runs"
# What Python has compiled of the files that environments share.
COMPILED = OURS / "compiled"
# A uv of this checkout's own, for who has none.
UV = OURS / "uv"
UV_SETTINGS = OURS / "uv.json"
MOST_SESSIONS = 6  # side by side: each may start servers, and models
# Tests that run type checkers, which only the session of types has.
CHECKERS = "tests/typing"
# Tests that look at the sources, which are the same for every Python.
HOUSE = "tests/house"
# Tests of the kits that test plugins: what they hold is held on every Python where a kit is used.
KITS = "tests/contracts"
# Tests that build a package of each kind and install them all.
SCAFFOLDED = "tests/plugins/scaffolded"
# All others are the kernel's own, which need nothing but the kernel.
OF_KERNEL = [f"--ignore={folder}" for folder in (CHECKERS, HOUSE, KITS, SCAFFOLDED)]

# nox writes its own record there when it ends, and makes no folder for it.
REPORTS.mkdir(parents=True, exist_ok=True)

nox.needs_version = ">=2026.8.17"
nox.options.default_venv_backend = "uv|virtualenv"
# An interpreter is found or said to be missing: with uv, nox would fetch one unasked.
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = os.environ.get("CI", "").lower() in {"1", "true"}
nox.options.report = str(REPORTS / "sessions.json")

if not sys.argv[1:]:
    # A whole run takes one session more at a time than there are cores, as tests also wait, and shows what each said when it
    # ends. The kernel's tests, which measure time, run by themselves. Sessions begin in the order of this file: long ones
    # first, so that none is waited for alone.
    nox.options.parallel = min(MOST_SESSIONS, 1 + (os.cpu_count() or 1))

PYPROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PYPROJECT)
OLDEST, *NEWER = PYTHONS
# A new package needs no edit here.
PLUGINS = sorted(path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml"))
CONTRIB = sorted(path.parent.name for path in ROOT.glob("contrib/*/pyproject.toml"))


@nox.session(python=False, tags=["release"])
def uv(session: nox.Session) -> None:
    """Have uv, which makes an environment in a tenth of pip's time; where it can't be had, go on with virtualenv and pip."""
    session.run(sys.executable, ".ci/fetch_uv.py", str(UV), str(UV_SETTINGS), external=True, log=False)
    # What nox found when it began, it remembers.
    getattr(nox.virtualenv.find_uv, "cache_clear", int)()


@nox.session(reuse_venv=True, requires=["uv"], tags=["release"])
def wheels(session: nox.Session) -> None:
    """Build the wheel of the kernel and of each plugin, once: all other sessions install what a user would install.

    Begins a run: the reports of the last one go, and its caches.
    """
    for folder in (WHEELS, REPORTS, CACHE, RUNS):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    COMPILED.mkdir(exist_ok=True)
    for path in COMPILED.iterdir():
        if path.stat().st_nlink == 1:  # no environment has it any more
            path.unlink()
    bring(session, "-c", "constraints.txt", "hatchling")
    build(session, "wheels", WHEELS, [ROOT, *(ROOT / "plugins" / name for name in PLUGINS)])


@nox.session(requires=["uv"], tags=["release"], allow_parallel=True)
def lint(session: nox.Session) -> None:
    """Ruff's rules and its format."""
    bring(session, "-c", "constraints.txt", *group("lint"))
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")


@nox.session(requires=["wheels"], tags=["release"], allow_parallel=True)
def types(session: nox.Session) -> None:
    """Mypy, strict, over the kernel and every plugin, as the oldest Python sees them; what mypy and pyright tell a user."""
    install(session, "dspex", *PLUGINS, others=group("checkers"))
    session.run("mypy")
    run_pytest(session, CHECKERS)


@nox.session(python=OLDEST, requires=["wheels"], tags=["release"], allow_parallel=True)
def house(session: nox.Session) -> None:
    """The shape of the house: floors, rings, state, what an import costs, and pages that are made from the tests. And its kits."""
    install(session, "dspex", others=group("test"))
    run_pytest(session, HOUSE, KITS)


@nox.session(python=PYTHONS, requires=["wheels"], tags=["release"])
def kernel(session: nox.Session) -> None:
    """The kernel's tests, on each Python, with no plugin installed; on all cores."""
    install(session, "dspex", others=group("test"))
    run_pytest(session, "--numprocesses=auto", "--dist=worksteal", *OF_KERNEL, "-m", "not slow", "tests")


@nox.session(python=PYTHONS[-1], requires=["wheels"], tags=["release"], allow_parallel=True)
def slow(session: nox.Session) -> None:
    """The searches, simulations and loads among the kernel's tests: what they look for is no matter of the Python."""
    install(session, "dspex", others=group("test"))
    run_pytest(session, *OF_KERNEL, "-m", "slow", "tests")


@nox.session(python=OLDEST, requires=["wheels"], tags=["release"], allow_parallel=True)
def scaffold(session: nox.Session) -> None:
    """What `dspex plugin new` writes, for each kind: built, installed beside the kernel's wheel, tested and used."""
    install(session, "dspex", others=group("types", "lint"))
    run_pytest(session, SCAFFOLDED)


@nox.session(python=OLDEST, requires=["wheels"], allow_parallel=True)
def contrib(session: nox.Session) -> None:
    """The packages of contrib/, together: types, tests and README. No release waits for it: `nox -t release` leaves it out."""
    if not CONTRIB:
        session.skip("contrib/ holds no package")
    bring(session, "-c", "constraints.txt", "hatchling")
    build(session, "wheels", WHEELS, [ROOT / "contrib" / name for name in CONTRIB])
    install(session, "dspex", *(f"{name}[test]" for name in CONTRIB), others=group("docs", "types"))
    # With the settings of the session types, whose look at the kernel is not repeated.
    session.run("mypy", *(f"contrib/{name}/src" for name in CONTRIB))
    run_pytest(session, *(f"contrib/{name}" for name in CONTRIB))


@nox.session(python=OLDEST, requires=["wheels"], tags=["release"], allow_parallel=True)
@nox.parametrize("plugin", [nox.param(name, id=name) for name in PLUGINS])
def plugins(session: nox.Session, plugin: str) -> None:
    """One first-party plugin, wholly, on the oldest Python, beside the kernel and only what it depends on."""
    install(session, "dspex", *siblings(plugin), f"{plugin}[test]")
    run_pytest(session, f"plugins/{plugin}/tests")


@nox.session(python=NEWER, requires=["wheels"], tags=["release"], allow_parallel=True)
def smoke(session: nox.Session) -> None:
    """All first-party plugins together, each by its tests/test_smoke.py, on the other Pythons.

    One environment a Python instead of one a plugin: the sum of the plugins is not tested anywhere else, and the
    embedded model's 350 MB are installed once.
    """
    install(session, "dspex", *(f"{name}[test]" for name in PLUGINS))
    run_pytest(session, *(f"plugins/{name}/tests/test_smoke.py" for name in PLUGINS))


@nox.session(requires=["wheels"], tags=["release"], allow_parallel=True)
def docs(session: nox.Session) -> None:
    """Run every Python example of the README files and the docs, and the tests of examples/."""
    install(session, "dspex", *PLUGINS, others=group("docs"))
    pages = [ROOT / "README.md", ROOT / "docs", ROOT / "examples", *sorted(ROOT.glob("plugins/*/README.md"))]
    # Examples save programs and runs where they stand.
    session.chdir(session.create_tmp())
    run_pytest(
        session, f"--config-file={ROOT / 'pyproject.toml'}", f"--rootdir={ROOT}", *map(str, filter(Path.exists, pages))
    )


@nox.session(python=OLDEST, requires=["wheels"], tags=["release"], allow_parallel=True)
@nox.parametrize("plugin", [nox.param(name, id=name) for name in PLUGINS])
def lowest(session: nox.Session, plugin: str) -> None:
    """One first-party plugin alone, with the oldest releases that it and the kernel say they work with, by its tests/test_smoke.py."""
    versions = Path(session.create_tmp()) / "lowest.txt"
    versions.write_text("\n".join(lowest_versions(plugin, *siblings(plugin))))
    install(session, "dspex", *siblings(plugin), f"{plugin}[test]", versions=versions)
    run_pytest(session, f"plugins/{plugin}/tests/test_smoke.py")


@nox.session(requires=["wheels"], tags=["release"], allow_parallel=True)
def packaging(session: nox.Session) -> None:
    """Build the sdist of each package and a wheel from it, and let twine judge their metadata."""
    bring(session, "-c", "constraints.txt", *group("packaging"))
    dist = Path(session.create_tmp()) / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    build(session, "releases", dist, [ROOT, *(ROOT / "plugins" / name for name in PLUGINS)])
    session.run("twine", "check", "--strict", *map(str, sorted(dist.iterdir())))


@nox.session(default=False, reuse_venv=True, requires=["wheels"])
def demo(session: nox.Session) -> None:
    """The main job: `dspex demo`, in an environment that has what it needs. `nox -s demo -- --task city`."""
    install(session, "dspex", *siblings("dspex-demo"), "dspex-demo")
    # Ctrl-C reaches the demo too: it needs a moment to say what it saved and how to go on. An interrupt of nox alone does
    # not, and it is terminated then, which it takes as the same.
    try:
        session.run("dspex", "demo", *session.posargs, interrupt_timeout=3, terminate_timeout=20)
    finally:
        session.log(f"`dspex` in the lines above is {Path(session.bin, 'dspex').relative_to(ROOT)}")


@nox.session(default=False, requires=["wheels"])
def bench(session: nox.Session) -> None:
    """Speed beside its raw limit: every benchmarks/bench_*.py, or those named."""
    run_scripts(session, session.posargs or sorted(map(str, ROOT.glob("benchmarks/bench_*.py"))))


@nox.session(default=False, requires=["wheels"])
def soak(session: nox.Session) -> None:
    """Half an hour of mixed faults; all gauges must stay flat."""
    run_scripts(session, sorted(map(str, ROOT.glob("benchmarks/soak_*.py"))))


@nox.session(python=False, tags=["release"])
def report(session: nox.Session) -> None:
    """Count the tests of all sessions of this run."""
    session.run(sys.executable, ".ci/closing_line.py", str(REPORTS), external=True, log=False)


def group(*names: str) -> tuple[str, ...]:
    """The requirements of dependency groups of the root's pyproject."""
    return nox.project.dependency_groups(PYPROJECT, *names)


def siblings(plugin: str) -> list[str]:
    """The other first-party plugins that one needs, through all levels, for itself and its tests."""
    found: list[str] = []
    waiting = [plugin]
    while waiting:
        project = nox.project.load_toml(f"plugins/{waiting.pop()}/pyproject.toml")["project"]
        wanted = [*project["dependencies"], *project.get("optional-dependencies", {}).get("test", ())]
        names = {re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in wanted}
        fresh = sorted(names.intersection(PLUGINS).difference(found, [plugin]))
        found += fresh
        waiting += fresh
    return found


def build(session: nox.Session, kind: str, out: Path, folders: Iterable[Path]) -> None:
    """Build packages by the session's own hatchling: an isolated build would install it anew for each."""
    session.run("python", ".ci/build_packages.py", kind, str(out), *map(str, folders), silent=True)


def lowest_versions(*plugins: str) -> list[str]:
    """Constraints: the release series that each lower bound of the kernel and of these plugins names; test tools as they are tested."""
    projects = [PYPROJECT, *(nox.project.load_toml(f"plugins/{name}/pyproject.toml") for name in plugins)]
    lines = [line for one in projects for line in one["project"]["dependencies"]]
    found = [re.match(r"([\w.-]+)(?:\[[^]]*\])?\s*>=\s*([\d.]+)", line) for line in lines]
    bounds: dict[str, str] = {}
    for name, version in ((one[1].lower(), one[2]) for one in found if one and one[1] not in ("dspex", *PLUGINS)):
        bounds[name] = max(bounds.get(name, "0"), version, key=lambda text: [int(part) for part in text.split(".")])
    tools = {
        re.split(r"[^\w.-]", line, maxsplit=1)[0] for name in plugins for line in extra(name, "test")
    } - bounds.keys()
    tested = (ROOT / "constraints.txt").read_text().splitlines()
    return [
        *(line for line in tested if line.partition("==")[0] in tools),
        *(f"{name}=={version}.*" for name, version in bounds.items()),
    ]


def extra(plugin: str, name: str) -> list[str]:
    """The requirements of an extra."""
    project = nox.project.load_toml(f"plugins/{plugin}/pyproject.toml")["project"]
    found: list[str] = project.get("optional-dependencies", {}).get(name, [])
    return found


def install(
    session: nox.Session, *names: str, others: Iterable[str] = (), versions: Path = ROOT / "constraints.txt"
) -> None:
    """Install packages of this checkout from their wheels, and the tested set of everything else.

    They are named by file, all in one command, as an index may know other packages of these names.
    """
    system_packages(session, names)
    files = [f"{name} @ {wheel(name)}" for name in names]
    bring(session, "-c", str(versions), *others, *files)
    # An environment that was kept holds the same versions of older code, which pip and uv would leave as they are.
    if getattr(session.virtualenv, "_reused", True):
        bring(session, "--no-deps", "--force-reinstall", *files)


def system_packages(session: nox.Session, names: Iterable[str]) -> None:
    """Under CI, as root on Debian: install what the tests of plugins need of the system, by their tests/debian.txt.

    Where that fails the tests say what is missing, and fail.
    """
    lists = (ROOT / "plugins" / name.partition("[")[0] / "tests" / "debian.txt" for name in names)
    wanted = {line for path in lists if path.exists() for line in path.read_text().split()}
    if not wanted or not os.environ.get("CI") or os.geteuid() or not shutil.which("apt-get"):
        return
    with (WHEELS / "apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # sessions run side by side, and apt serves one
        absent = sorted(name for name in wanted if not Path("/var/lib/dpkg/info", f"{name}.list").exists())
        env = {"DEBIAN_FRONTEND": "noninteractive"}
        for words in (("update",), ("install", "--yes", "--no-install-recommends", *absent)) if absent else ():
            session.run("apt-get", "-qq", *words, external=True, success_codes=[0, 100], env=env)


def wheel(name: str) -> str:
    """The address of the wheel that was built for a package, which may be written with extras."""
    distribution = name.partition("[")[0].replace("-", "_")
    [path] = WHEELS.glob(f"{distribution}-*.whl")
    return path.as_uri()


def run_pytest(session: nox.Session, *arguments: str) -> None:
    """Run tests with the folders of a user who is not there, and leave a report of them."""
    env = {"DSPEX_CACHE_DIR": str(CACHE), "DSPEX_RUNS_DIR": str(RUNS), "DSPEX_WHEELS": str(WHEELS)}
    unknown = [(own, shared) for own, shared in compiled(session) if not linked(shared, own)]
    session.run("pytest", f"--junitxml={REPORTS / session.name}.xml", *arguments, *session.posargs, env=env)
    for own, shared in unknown:
        linked(own, shared)


def compiled(session: nox.Session) -> Iterator[tuple[Path, Path]]:
    """Where Python looks in a session's environment for what is compiled of each file, and where it lies for all sessions.

    uv links a file of a package into each environment: what is one file is compiled once, and not for each of sixty sessions.
    """
    for site in Path(session.virtualenv.location).glob("lib/python*/site-packages"):
        tag = f"cpython-{site.parent.name.removeprefix('python').replace('.', '')}.pyc"
        # Not by pathlib, which takes three times as long for the thousands of files that there are.
        for folder, _, names in os.walk(site):
            for name in names:
                if name.endswith(".py") and (known := os.stat(f"{folder}/{name}")).st_nlink > 1:  # noqa: PTH116
                    shared = COMPILED / f"{known.st_ino}-{known.st_mtime_ns}-{known.st_size}.{tag}"
                    yield Path(folder, "__pycache__", f"{name.removesuffix('py')}{tag}"), shared


def linked(there: Path, here: Path) -> bool:
    """Have a file here too, if it is there; whether it is."""
    if not there.exists():
        return False
    here.parent.mkdir(exist_ok=True)
    with suppress(OSError):  # the session beside this one was first, or the disk is another
        here.hardlink_to(there)
    return True


def run_scripts(session: nox.Session, scripts: list[str]) -> None:
    """Run programs of benchmarks/ with the kernel and all plugins installed."""
    if not scripts:
        session.skip("benchmarks/ holds no such program")
    install(session, "dspex", *PLUGINS, others=group("test"))
    for script in scripts:
        session.run("python", script)


def bring(session: nox.Session, *requirements: str) -> None:
    """Install from the user's indexes."""
    session.install(*requirements, env=json.loads(UV_SETTINGS.read_text()) if UV_SETTINGS.exists() else None)


def answers(python: str | Path, version: str) -> bool:
    """True if an interpreter starts and is of a version. A pyenv shim is on PATH even where it only prints an error."""
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.stdout.strip() == version


def show_pyenv_interpreters() -> None:
    """Put interpreters that pyenv has, but does not put on PATH, where nox looks for them."""
    # A shim tells where pyenv lives, also to a user whose home is empty.
    shims = (Path(entry) for entry in os.environ.get("PATH", "").split(os.pathsep) if Path(entry).name == "shims")
    roots = [Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv"), *(shim.parent for shim in shims)]
    for version in PYTHONS:
        on_path = shutil.which(f"python{version}")
        if on_path and answers(on_path, version):
            continue
        for python in (found for root in roots for found in root.glob(f"versions/{version}.*/bin/python{version}")):
            if answers(python, version):
                # In front: behind the shim, pyenv would run it through the shim.
                os.environ["PATH"] = os.pathsep.join([str(python.parent), os.environ.get("PATH", os.defpath)])
                break


show_pyenv_interpreters()
# uv leaves compiling to the first import: without a place to keep it, each process of the tests would do it anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Behind the user's own.
os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), str(UV / "bin")])
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that starts us in the background ignores Ctrl-C for all that we start, and tests send it to what they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
