"""What a post says: its text, its media as addresses, a link, and options that only its platform knows."""

from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from penstock.schemas.errors import Code
from penstock.schemas.sensitive import Sensitive

MediaKind = Literal["image", "video"]


class ContentFault(NamedTuple):
    """One thing that is wrong with a post. `field` is such as `text` or `media.2.url`; None for the whole post."""

    field: str | None
    code: Code
    message: str

    def as_dict(self) -> dict[str, str | None]:
        """The fault as JSON values."""
        return {"field": self.field, "code": str(self.code), "message": self.message}


class Media(BaseModel):
    """A picture or video, fetched from its address when the post is prepared. What is known of it is checked early."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, Field(min_length=1, max_length=2_000), Sensitive()] = Field(
        description="https, public, and without a login at the time of publishing"
    )
    kind: MediaKind = "image"
    alt: Annotated[str, Field(max_length=1_500), Sensitive()] | None = Field(
        default=None, description="a description for people who can't see it"
    )
    content_type: Annotated[str, Field(pattern=r"^(image|video)/[a-z0-9.+-]{1,60}$")] | None = None
    size_bytes: Annotated[int, Field(ge=1)] | None = None
    width: Annotated[int, Field(ge=1)] | None = Field(default=None, description="pixels")
    height: Annotated[int, Field(ge=1)] | None = Field(default=None, description="pixels")
    duration_seconds: Annotated[float, Field(gt=0)] | None = None


class PostContent(BaseModel):
    """A post for one account. Whether its platform takes it is `content_faults`' to say; nothing is ever cut."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: Annotated[str, Field(max_length=100_000), Sensitive()] = ""
    media: Annotated[tuple[Media, ...], Field(max_length=20)] = ()
    link: Annotated[str, Field(min_length=1, max_length=2_000), Sensitive()] | None = None
    options: Annotated[Mapping[str, JsonValue], Sensitive()] = Field(
        default_factory=dict, description="what only this platform knows; docs/platforms.md lists them"
    )
