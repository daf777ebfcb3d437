"""A fault of one row: what a rejected submission is told about each thing that is wrong with it."""

from typing import NamedTuple

from penstock.schemas.errors import Code


class Fault(NamedTuple):
    """One fault. `question_id` is None where the row itself is at fault."""

    question_id: str | None
    code: Code
    message: str

    def as_dict(self) -> dict[str, str | None]:
        """The fault as it stands in `submission_rejections.faults`."""
        return {"question_id": self.question_id, "code": str(self.code), "message": self.message}
