"""Documents held against their models, with every fault told and no value quoted."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from penstock.schemas.errors import Code, InvalidInputError

_M = TypeVar("_M", bound=BaseModel)
_FAULTS_TOLD = 50


def validated(model: type[_M], body: bytes) -> _M:
    """The document as its model.

    Raises:
        InvalidInputError: `REQUEST_INVALID`, with every fault in `details["errors"]`.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        # Without the input, which can be a post's text.
        faults = [
            {"at": ".".join(str(part) for part in fault["loc"]), "message": fault["msg"]}
            for fault in error.errors(include_input=False, include_url=False, include_context=False)
        ]
        told = "; ".join(f"{fault['at'] or 'body'}: {fault['message']}" for fault in faults[:5])
        raise InvalidInputError(Code.REQUEST_INVALID, told, details={"errors": faults[:_FAULTS_TOLD]}) from None
