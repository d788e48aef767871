"""Makes random projects with everything that affects forwards, and calls of Skaffold on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.referee.yaml_styles import Raw, Writer

# The newest schema of each Skaffold.
SCHEMAS = {"2.16.1": "v4beta13", "2.19.0": "v4beta14"}
NEWEST = ("v4beta12", "v4beta8", "v4beta1", "v3", "v3alpha1")
WITH_MODULES = ("v2beta12", "v2beta20", "v2beta29")
OLD = ("v1beta12", "v1beta15", "v1beta17", "v1", "v2alpha1", "v2alpha4", "v2beta1", "v2beta8")

ENVIRON = {"NAME": "shop", "X": "1", "Y": "ab"}
NAMES = (
    *("web", "api", "db", "web", "{{.NAME}}", "{{ .NAME }}-x", "{{.NAME | upper | lower}}"),
    *("{{.GONE}}", "{{.NAME | nosuch}}", "{{.GONE | upper}}", "{{.NAME"),
    *map(
        Raw, ("123", "1.0", "0x10", "2001-02-03", "2001-99-99", "yes", "=", "!mine web", "!!str 7", "~", "true", "1_0")
    ),
    *("Not A Name", ""),
)
PORTS = (
    *(80, 8080, 9090, "http", "8080", 0, 70000, -1, "0", ""),
    *map(Raw, ("8_080", "0x50", "08", "8080.0", "1e3", "~", "!!int 80", "!x 80", "+80")),
)
LOCAL_PORTS = (8080, 9001, 0, 99999, -5, *map(Raw, ("9_001", "0o21", "9001.0", "~")))
TYPES = (
    "service",
    "service",
    "Service",
    "deployment",
    "POD",
    "StatefulSet",
    "cronjob",
    "container",
    "svc",
    "ingress",
    "",
)
ADDRESSES = ("127.0.0.1", "0.0.0.0", "::1", "localhost", "*", "")
COMMANDS = (
    *("dev", "dev", "debug", "run", "deploy", "diagnose", "!dev", "!run", "!diagnose", "dev|run", "^d", "(", ".*"),
    *("(?=dev)dev", "d[a-z]+$", "DEV", "(?i)DEV"),
)
ENVS = ("X=1", "X=2", "X=", "UNSET=", "Y=^a", "Y=!^a", "UNSET=.*")
CONTEXTS = ("here", "there", "!here", "^the", "h.re")
PROFILES = ("a", "b", "c")
IMAGES = ("web", "api", "gcr.io/x/db")


@dataclass(frozen=True)
class Call:
    """A project on disk and one call of Skaffold. `files`: texts by path below the project's top."""

    files: dict[str, str]
    cwd: str
    filename: str
    command: str
    profiles: tuple[str, ...]
    modules: tuple[str, ...]
    kube_context: str
    auto_activation: bool
    propagate: bool

    def write(self, top: Path) -> None:
        for name, text in self.files.items():
            path = top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
        (top / self.cwd).mkdir(parents=True, exist_ok=True)


def made_call(random: Random, skaffold: str) -> Call:
    """One project and one call for this version of Skaffold; the same ones for the same random numbers."""
    newest = SCHEMAS[skaffold]
    return _Maker(random, (newest, newest, *NEWEST)).call()


class _Maker:
    """`version`: the schema, which decides which fields exist."""

    def __init__(self, random: Random, newest: tuple[str, ...]) -> None:
        self._random = random
        pool = random.choices((newest, WITH_MODULES, OLD), (6, 2, 1))[0]
        self._version = random.choice(pool)
        self._modern = pool is not OLD
        self._newest = pool is newest
        self._profiles: list[str] = []
        self._modules: list[str] = []

    def call(self) -> Call:
        random = self._random
        folder, name = random.choice((("p", "skaffold.yaml"), ("p", "skaffold.yaml"), ("p/q", "other.yaml")))
        files = self._files(folder, name)
        cwd = random.choice((folder, folder, ".", "elsewhere", "p"))
        filename = Path(f"{folder}/{name}")
        relative = Path("../" * len(Path(cwd).parts)) / filename
        if cwd == folder:
            relative = Path(name)
        # After the files, which define the names.
        return Call(
            files=files,
            cwd=cwd,
            filename=str(relative) if random.random() < 0.8 else f"TOP/{filename}",
            command=random.choice(("dev", "dev", "debug", "run", "deploy")),
            profiles=self._some_profiles(),
            modules=self._some(self._modules, ("gone",)),
            kube_context=random.choice(("", "", "", "here", "there")),
            auto_activation=self._chance(0.9),
            propagate=self._chance(0.9),
        )

    def _files(self, folder: str, name: str) -> dict[str, str]:
        modules = {}
        if self._modern and self._chance(0.6):
            modules = {"m": f"{folder}/m/skaffold.yaml", "n": "sibling/n.yaml"}
        up = "../" * len(Path(folder).parts)
        paths = {"m": self._random.choice(("m", "./m", "m/skaffold.yaml")), "n": f"{up}sibling/n.yaml"}
        root = [self._document("root", [self._requirement(paths[key], [key]) for key in modules])]
        if self._modern and self._chance(0.3):
            root.append(self._document("second", []))
            root[0].setdefault("requires", []).append(self._requirement("", ["second"]))
        if len(root) > 1 and self._chance(0.3):
            root.reverse()
        files = {f"{folder}/{name}": Writer(self._random).documents(root)}
        for key, path in modules.items():
            # One module may require the other, or the project itself.
            further = [self._requirement(f"../{up}sibling/n.yaml", [])] if key == "m" and self._chance(0.3) else []
            files[path] = Writer(self._random).documents([self._document(key, further)])
        return files

    def _document(self, name: str, requires: list[dict[str, Any]]) -> dict[str, Any]:
        document: dict[str, Any] = {"apiVersion": f"skaffold/{self._version}", "kind": "Config"}
        if self._chance(0.9) and self._version != "v1beta12":
            document["metadata"] = {"name": name}
            self._modules.append(name)
        if requires:
            document["requires"] = requires
        document |= self._pipeline(0.8)
        if self._chance(0.7):
            names = self._random.sample(PROFILES, self._random.choice((1, 1, 2, 3)))
            document["profiles"] = [self._profile(name) for name in names]
        return document

    def _requirement(self, path: str, configs: list[str]) -> dict[str, Any]:
        found: dict[str, Any] = {"path": path} if path else {}
        if configs and (not path or self._chance(0.4)):
            found["configs"] = configs
        if self._chance(0.5):
            found["activeProfiles"] = [self._active() for _ in range(self._random.choice((1, 1, 2)))]
        return found or {"path": "."}

    def _active(self) -> dict[str, Any]:
        by = {"activatedBy": self._random.sample(PROFILES, 1)} if self._chance(0.6) else {}
        return {"name": self._random.choice(PROFILES), **by}

    def _pipeline(self, chance: float) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self._chance(0.5):
            found["build"] = {"artifacts": [{"image": image} for image in self._random.sample(IMAGES, 2)]}
        if self._chance(0.3):
            found["deploy"] = self._deploy()
        if self._chance(chance):
            found["portForward"] = [self._entry() for _ in range(self._random.choice((1, 2, 3)))]
        return found

    def _deploy(self) -> dict[str, Any]:
        found: dict[str, Any] = {"kubectl": {}}
        if self._newest and self._chance(0.3):
            found = {"docker": {"images": ["web"]}}
        if self._modern and self._chance(0.4):
            found["kubeContext"] = self._random.choice(("here", "there"))
        return found

    def _entry(self) -> dict[str, Any]:
        odd = self._chance(0.3)
        found: dict[str, Any] = {
            "resourceType": self._random.choice(TYPES if odd else TYPES[:6]),
            "resourceName": self._random.choice(NAMES if odd else NAMES[:7]),
            "port": self._random.choice(PORTS if odd else PORTS[:5]),
        }
        if self._chance(0.4):
            found["localPort"] = self._random.choice(LOCAL_PORTS if odd else LOCAL_PORTS[:3])
        if self._chance(0.3):
            found["namespace"] = self._random.choice(("shop", "{{.NAME}}", "{{.GONE}}"))
        if self._modern and self._chance(0.2):
            found["address"] = self._random.choice(ADDRESSES)
        if odd and self._chance(0.15):
            del found[self._random.choice(sorted(found))]
        return found

    def _profile(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = {"name": name}
        self._profiles.append(name)
        if self._chance(0.7):
            found["activation"] = [self._condition() for _ in range(self._random.choice((1, 1, 2)))]
            if self._newest and self._chance(0.3):
                found["requiresAllActivations"] = True
        found |= self._pipeline(0.5)
        if self._chance(0.3):
            found["patches"] = [self._patch()]
        return found

    def _condition(self) -> dict[str, Any]:
        found = {
            "command": self._random.choice(COMMANDS),
            "env": self._random.choice(ENVS),
            "kubeContext": self._random.choice(CONTEXTS),
        }
        kept = self._random.choices((("command",), ("env",), ("kubeContext",), ("command", "env")), (6, 2, 1, 2))[0]
        return {key: found[key] for key in (*kept, *(["kubeContext"] if self._chance(0.1) else []))}

    def _patch(self) -> dict[str, Any]:
        return self._random.choice(
            (
                {"op": "add", "path": "/portForward/0/localPort", "value": 7000},
                {"op": "add", "path": "/portForward/-", "value": self._entry()},
                {"path": "/portForward/0/resourceName", "value": "patched"},
                {"op": "remove", "path": "/portForward/0"},
                {"op": "replace", "path": "/build/artifacts/0/image", "value": "patched"},
                {"op": "add", "path": "/deploy/kubeContext", "value": "there"},
            )
        )

    def _some_profiles(self) -> tuple[str, ...]:
        names = self._some(self._profiles, PROFILES)
        return tuple(f"-{name}" if self._chance(0.3) else name for name in names)

    def _some(self, known: list[str], others: tuple[str, ...]) -> tuple[str, ...]:
        """Usually none; sometimes one that does not exist."""
        pool = sorted(set(known)) if self._chance(0.9) else sorted(others)
        return tuple(self._random.sample(pool, min(len(pool), self._random.choice((0, 0, 0, 1, 2)))))

    def _chance(self, share: float) -> bool:
        return self._random.random() < share
