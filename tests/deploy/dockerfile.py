"""The image's Dockerfile, read into its instructions, and what of the repository its build is sent."""

import json
import re
import shlex
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMAGE = ROOT / "deploy" / "image"
DOCKERFILE = IMAGE / "Dockerfile"

_VARIABLE = re.compile(r"\$\{(\w+)}")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: its name in capitals, and all that follows on one line."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """What follows, as words; of the form in brackets its items."""
        return json.loads(self.text) if self.text.startswith("[") else shlex.split(self.text)


def parse(text: str) -> list[list[Instruction]]:
    """The instructions by stage; the first list holds those before the first FROM."""
    stages: list[list[Instruction]] = [[]]
    for line in _joined(text):
        name, _, rest = line.partition(" ")
        if name.upper() == "FROM":
            stages.append([])
        stages[-1].append(Instruction(name.upper(), rest.strip()))
    return stages


def _joined(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    return [line for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines() if line.strip()]


def of(stage: list[Instruction], name: str) -> list[Instruction]:
    """The instructions of that name."""
    return [one for one in stage if one.name == name]


def environment(stage: list[Instruction]) -> dict[str, str]:
    """What a stage's ENV sets."""
    pairs = [word.partition("=") for one in of(stage, "ENV") for word in one.words]
    return {name: value for name, _, value in pairs}


def arguments(stages: list[list[Instruction]]) -> dict[str, str]:
    """Every ARG with its default."""
    pairs = [one.text.partition("=") for stage in stages for one in of(stage, "ARG")]
    return {name: value for name, _, value in pairs}


def base_of(stages: list[list[Instruction]], stage: list[Instruction]) -> str:
    """The image that a stage begins with, its variables put in."""
    return _VARIABLE.sub(lambda found: arguments(stages)[found[1]], of(stage, "FROM")[0].words[0])


def copied(stage: list[Instruction]) -> list[tuple[str, str]]:
    """What a stage copies from the build's context: source and target."""
    pairs = []
    for one in of(stage, "COPY"):
        words = [word for word in one.words if not word.startswith("--")]
        if not any(word.startswith("--from=") for word in one.words):
            pairs += [(source, words[-1]) for source in words[:-1]]
    return pairs


def is_sent(path: str) -> bool:
    """Whether the build is sent a file: the last line of Dockerfile.dockerignore that matches it holds."""
    sent = True
    for line in (IMAGE / "Dockerfile.dockerignore").read_text().splitlines():
        pattern = line.strip().removeprefix("!")
        if pattern and not line.startswith("#") and _matches(path, pattern):
            sent = line.startswith("!")
    return sent


def _matches(path: str, pattern: str) -> bool:
    parts = path.split("/")
    heads = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    anywhere = pattern.removeprefix("**/")
    if anywhere != pattern:
        return any(fnmatch(part, anywhere) for part in parts)
    return any(fnmatch(head, pattern) for head in heads)
