"""`python -m tests.golden [DIR …]`: run every golden case and print what became of each file's."""

import sys
from collections import Counter, defaultdict
from pathlib import Path

import tests.golden.handlers  # noqa: F401
from tests.golden.framework import HERE, Verdict, judge, load

STATUSES = ("passed", "refused", "failed", "without counterpart")


def main(folders: list[str]) -> int:
    by_file: dict[str, list[Verdict]] = defaultdict(list)
    for folder in [Path(f) for f in folders] or [HERE]:
        for case in load(folder):
            by_file[case.file].append(judge(case))
    if not by_file:
        print(f"No golden file (NAME.json beside NAME.npz) in {', '.join(folders)}.", file=sys.stderr)
        return 2
    print(f"{'file':20}" + "".join(f"{s:>21}" for s in STATUSES) + f"{'largest relative error':>25}")
    total: Counter[str] = Counter()
    for file, verdicts in by_file.items():
        counts = Counter(v.status for v in verdicts)
        total += counts
        worst = max((v.error for v in verdicts if v.status == "passed"), default=0.0)
        print(f"{file:20}" + "".join(f"{counts[s]:21}" for s in STATUSES) + f"{worst:25.1e}")
    print(f"{'all':20}" + "".join(f"{total[s]:21}" for s in STATUSES))
    for verdicts in by_file.values():
        for v in verdicts:
            if v.status in ("failed", "without counterpart"):
                print(f"{v.status}: {v.case.key}: {v.message}")
    return 1 if total["failed"] or total["without counterpart"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
