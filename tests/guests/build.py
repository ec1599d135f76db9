#!/usr/bin/env python3
"""Builds the shipped plugins and every plugin template to WASM, each with the command its author would use.

    tests/guests/build.py [--out DIR] [--keep] [--only LANGUAGE,...] [--test SLUICE]
    tests/guests/build.py --environment LANGUAGE

--out DIR   where the modules go: NAME.wasm, template-LANGUAGE-KIND.wasm (target/guests)
--test SLUICE  runs `SLUICE plugin test` on every template and shipped plugin that was built
--environment LANGUAGE  prints NAME=VALUE lines: what this machine's toolchain needs beside the author's command
--keep      puts the plugins' modules beside their sources too (plugins/NAME/NAME.wasm)

What a toolchain that can't be had would build is "not rebuilt", which is no failure; a build that
fails is one. Toolchains that are not installed are kept in .cache/guests.
"""

import argparse
import filecmp
import os
import pathlib
import shutil
import subprocess
import sys
import tomllib

REPO = pathlib.Path(__file__).resolve().parents[2]
HERE = REPO / "tests" / "guests"
CACHE = REPO / ".cache" / "guests"
TEMPLATES = REPO / "sdk" / "templates"
ZIG = "ziglang==0.17.1"
COMPONENTIZE_PY = "componentize-py==0.25.1"
WASM = "wasm32-unknown-unknown"


class NotToBeHad(Exception):
    """A toolchain is neither here nor to be installed."""


def run(command, **options):
    subprocess.run([str(word) for word in command], check=True, **options)


def attempt(command, **options):
    """Whether a command that may well fail succeeds."""
    try:
        done = subprocess.run([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    except FileNotFoundError:
        return False
    return done.returncode == 0


# Toolchains: each answers the environment for its builds.


def rust():
    """Any cargo, and std for the target: rustup's, or built from Debian's sources."""
    if not shutil.which("cargo"):
        raise NotToBeHad("there is no cargo")
    run(["cargo", "fetch", "-q"], cwd=REPO)
    # No module holds the name of a folder of the machine that built it.
    cargo_home = pathlib.Path(os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo"))
    crates = (cargo_home / "registry" / "src").glob("*")
    flags = ["-Clink-arg=-zstack-size=65536", f"--remap-path-prefix={REPO}=/sluice"]
    flags += [f"--remap-path-prefix={folder}=/crates" for folder in sorted(crates)]
    if not has_wasm_std() and not (attempt(["rustup", "target", "add", WASM]) and has_wasm_std()):
        if not attempt(["sh", HERE / "rust-std.sh", CACHE / "rust"]):
            raise NotToBeHad(f"std for {WASM}: rustup target add {WASM}")
        flags.insert(0, f"--sysroot={CACHE / 'rust' / 'sysroot'}")
    return {"RUSTFLAGS": " ".join(flags)}


def has_wasm_std():
    found = subprocess.run(["rustc", "--print", "target-libdir", "--target", WASM], capture_output=True, text=True)
    return found.returncode == 0 and any(pathlib.Path(found.stdout.strip()).glob("libstd-*.rlib"))


def from_pypi(name, package):
    """What a package brings, in an environment of its own."""
    venv = CACHE / name
    if not (venv / "whole").exists():
        pip = venv / "bin" / "pip"
        if not attempt([sys.executable, "-m", "venv", venv]) or not attempt([pip, "install", "-q", package]):
            raise NotToBeHad(f"pip install {package}")
        (venv / "whole").touch()
    return {"PATH": f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}"}


def from_npm(name, package):
    """A package in the version of the lock file that lies in this folder's NAME."""
    folder = CACHE / name
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder / "package-lock.json"
    wanted = HERE / name / "package-lock.json"
    if not (folder / "node_modules" / package).exists() or not filecmp.cmp(lock, wanted, shallow=False):
        shutil.copy(HERE / name / "package.json", folder)
        shutil.copy(wanted, lock)
        if not attempt(["npm", "ci", "--no-audit", "--no-fund"], cwd=folder):
            raise NotToBeHad(f"npm install {package}")
    return {}


def zig():
    """Zig from PyPI, which is a C compiler for WASM too."""
    return from_pypi("zig", ZIG)


def python():
    """Python itself, made a component."""
    return from_pypi("python", COMPONENTIZE_PY)


def assemblyscript():
    return from_npm("assemblyscript", "assemblyscript")


def javascript():
    """SpiderMonkey, made a component."""
    return from_npm("javascript", "@bytecodealliance/componentize-js")


def go():
    """Go 1.24 or later."""
    if not attempt(["go", "version"]):
        raise NotToBeHad("there is no go")
    return {}


TOOLCHAINS = {
    "rust": rust,
    "c": zig,
    "zig": zig,
    "assemblyscript": assemblyscript,
    "go": go,
    "javascript": javascript,
    "python": python,
}


def instantiate(template, folder, name):
    """What `sluice plugin new` does: a copy with its placeholders filled in."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(template, folder)
    for file in folder.rglob("*"):
        if file.is_file():
            text = file.read_text()
            file.write_text(text.replace("{{name}}", name).replace("{{sdk}}", str(REPO / "sdk")))


def build_template(language, kind, env, out):
    name = f"template-{language}-{kind}"
    folder = CACHE / "templates" / name
    instantiate(TEMPLATES / language / kind, folder, name)
    if (folder / "package.json").exists():
        (folder / "node_modules").symlink_to(CACHE / language / "node_modules")
    manifest = tomllib.loads((folder / "plugin.toml").read_text())
    if language == "rust":
        # One folder for all of them, so that what they share is built once.
        env = env | {"CARGO_TARGET_DIR": str(CACHE / "target"), "CARGO_TERM_QUIET": "true"}
        run(["cargo", "test", "--lib"], cwd=folder, env=os.environ | env | {"RUSTFLAGS": ""}, stdout=subprocess.DEVNULL)
    run(manifest["build"], cwd=folder, env=os.environ | env | manifest.get("env", {}), stdout=subprocess.DEVNULL)
    output = pathlib.Path(manifest["output"])
    if language == "rust":
        # Where the author's own build would have put it.
        (folder / output).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(CACHE / output, folder / output)
    shutil.copyfile(folder / output, out / f"{name}.wasm")
    return f"{name}.wasm"


def try_out(sluice, folder, module=None):
    """`sluice plugin test`, in the real host, on the sample messages; strategies have none."""
    if not (folder / "messages.jsonl").exists():
        return
    command = [sluice, "plugin", "test", folder if module is None else module]
    if module is not None:
        command += ["--messages", folder / "messages.jsonl"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode != 0:
        print(done.stdout, done.stderr, file=sys.stderr)
        raise subprocess.CalledProcessError(done.returncode, command)


def build_plugins(env, out, keep):
    """The shipped plugins, and what benchmarks measure: members of the workspace named plugin-NAME.

    One by one, as their authors would: built together they would share the features of what they use.
    """
    target = CACHE / "target"
    env = os.environ | env | {"CARGO_TARGET_DIR": str(target)}
    for manifest in sorted([*REPO.glob("plugins/*/Cargo.toml"), *REPO.glob("bench/guests/*/Cargo.toml")]):
        name = manifest.parent.name
        package = tomllib.loads(manifest.read_text())["package"]["name"]
        if package != f"plugin-{name}":
            continue
        run(["cargo", "build", "-q", "--profile", "guest", "--target", WASM, "-p", package], cwd=REPO, env=env)
        built = target / WASM / "guest" / f"plugin_{name.replace('-', '_')}.wasm"
        shutil.copyfile(built, out / f"{name}.wasm")
        shipped = manifest.parent / f"{name}.wasm"
        if keep:
            shutil.copyfile(built, shipped)
        same = shipped.exists() and filecmp.cmp(built, shipped, shallow=False)
        yield f"{name}.wasm", "" if same else "  differs from the module beside its source"


def environment(language):
    try:
        for name, value in TOOLCHAINS[language]().items():
            print(f"{name}={value}")
    except NotToBeHad as reason:
        print(f"{language}: {reason}", file=sys.stderr)
        return 1
    return 0


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=pathlib.Path, default=REPO / "target" / "guests")
    arguments.add_argument("--keep", action="store_true")
    arguments.add_argument("--only", default=",".join(TOOLCHAINS))
    arguments.add_argument("--test", metavar="SLUICE")
    arguments.add_argument("--environment", choices=list(TOOLCHAINS))
    options = arguments.parse_args()
    if options.environment:
        return environment(options.environment)
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)

    def report(name, note=""):
        print(f"{(out / name).stat().st_size:>9}  {name}{note}", flush=True)

    failed = False
    for language in options.only.split(","):
        kinds = sorted(folder.name for folder in (TEMPLATES / language).iterdir() if folder.is_dir())
        try:
            env = TOOLCHAINS[language]()
            if language == "rust":
                for name, note in build_plugins(env, out, options.keep):
                    report(name, note)
            for kind in kinds:
                report(build_template(language, kind, env, out))
                if options.test:
                    try_out(options.test, CACHE / "templates" / f"template-{language}-{kind}")
        except NotToBeHad as reason:
            print(f"not rebuilt: {language} ({reason})", flush=True)
        except subprocess.CalledProcessError as error:
            print(f"failed: {language}: {error}", file=sys.stderr, flush=True)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
