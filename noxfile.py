"""Every job by name: ``nox -l`` lists them, ``nox -s lint`` runs one."""

import nox

nox.needs_version = ">=2024.10"
nox.options.default_venv_backend = "venv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "layers", "tests"]

PYTHONS = ["3.11", "3.13"]


@nox.session
def lint(session: nox.Session) -> None:
    """Style and format (ruff)."""
    session.install("ruff>=0.8")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Types (mypy, strict)."""
    session.install(".[dev,simulate]")
    session.run("mypy")


@nox.session
def layers(session: nox.Session) -> None:
    """Order of modules (import-linter)."""
    session.install(".[dev]")
    session.run("lint-imports")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run all tests; arguments after -- go to pytest."""
    session.install(".[dev,simulate]")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def quick(session: nox.Session) -> None:
    """Run the tests that take less than about ten seconds each."""
    session.install(".[dev,simulate]")
    session.run("python", "-m", "pytest", "-m", "not slow", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Spoil files 200,000 times and draw new examples of every law; for every night."""
    session.install(".[dev,simulate]")
    session.env["ORBISTEM_FUZZ_TIMES"] = "20"
    session.run("python", "-m", "pytest", "tests/hostile", *session.posargs)
    session.run("python", "-m", "pytest", "-m", "not slow", "--hypothesis-profile=default", *session.posargs)


@nox.session
def doctests(session: nox.Session) -> None:
    """Run the examples in docstrings."""
    session.install("-e", ".[dev,simulate]")
    session.run("python", "-m", "pytest", "--doctest-modules", "src/orbistem", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """Run the README's first command: simulate, fit, report."""
    session.install(".[simulate]")
    session.run("orbistem", "demo", "-o", session.create_tmp() + "/demo")


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Print the numbers of the README; name scripts of benchmarks/ after --, or all run."""
    session.install(".[dev,simulate]")
    from pathlib import Path

    for script in session.posargs or sorted(map(str, Path("benchmarks").glob("*.py"))):
        session.run("python", script)


@nox.session
def build(session: nox.Session) -> None:
    """Build the wheel and the source archive and check that they install."""
    session.install("build")
    folder = session.create_tmp()
    session.run("python", "-m", "build", "--outdir", folder)
