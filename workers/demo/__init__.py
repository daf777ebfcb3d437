"""The demonstration's data: 10,000 real wildlife strike reports, in the public domain (data/SOURCE.md)."""

from pathlib import Path

FORM_ID = "wildlife-strikes"
BATCH_ID = "wildlife-strikes-demo"

_DATA = Path(__file__).parent / "data"
FORM_FILE = _DATA / "form.json"
SUBMISSIONS_FILE = _DATA / "submissions.jsonl.gz"
