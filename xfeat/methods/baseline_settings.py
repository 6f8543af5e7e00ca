"""Settings of the baselines: what every method should beat."""

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from xfeat.methods.drcl_settings import DrclSettings
from xfeat.methods.settings import class_names

CLASSES = "train on these classes only (patterns such as Latin/* too); [] for all"
MEMORY = "what a training may take, for example 2GB, or half of what is free"


class BaselineSettings(BaseModel):
    """What all baselines in closed form have.

    Raises:
        pydantic.ValidationError: an unknown setting or a value outside its range.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    method: ClassVar[str]

    classes: list[str] = Field([], description=CLASSES)

    @field_validator("classes", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        return class_names(value)


class RawSettings(BaselineSettings):
    """Features as they are."""

    method: ClassVar[str] = "raw"

    classes: list[str] = Field([], description="count these as seen (patterns such as Latin/* too); [] for all")
    standardize: bool = Field(False, description="scale features by the training rows' mean and deviation")


class CcaSettings(BaselineSettings):
    """Canonical correlation analysis of two modalities or more."""

    method: ClassVar[str] = "cca"

    match: Literal["auto", "keys", "class"] = Field(
        "auto", description="rows that belong together: by pair key or by class; auto: by key where caches share keys"
    )
    dims: int | None = Field(None, ge=1, description="directions kept; those that correlate, 128 at most")
    regularisation: float = Field(0.1, ge=0, description="added to own covariances, times the mean variance")
    power: float = Field(1.0, ge=0, description="directions are weighted by their correlation to this power; 0: alike")
    standardize: bool = Field(True, description="scale inputs by the training rows' deviation too, not the mean alone")
    memory: str = Field("auto", description=MEMORY)


class SemanticSettings(BaselineSettings):
    """Semantic matching: class posteriors of a logistic regression per modality."""

    method: ClassVar[str] = "semantic-matching"

    C: float = Field(1.0, gt=0, description="inverse strength of the L2 penalty, as in scikit-learn")
    similarity: Literal["cosine", "inner product"] = Field("cosine", description="what posteriors are compared by")
    standardize: bool = Field(True, description="scale inputs by the training rows' deviation too, not the mean alone")
    memory: str = Field("auto", description=MEMORY)


class RidgeSettings(BaselineSettings):
    """Ridge regression from features to labels."""

    method: ClassVar[str] = "ridge"

    penalty: float | None = Field(
        None, gt=0, description="times the mean squared length of a row; the one of least leave-one-out error"
    )
    standardize: bool = Field(True, description="scale inputs by the training rows' deviation too, not the mean alone")
    memory: str = Field("auto", description=MEMORY)


CLOSED_FORMS = tuple(one.method for one in (RawSettings, CcaSettings, SemanticSettings, RidgeSettings))
"""Names of the baselines that are worked out, not trained: an affine map for each modality."""


class OrthogonalSettings(DrclSettings):
    """DRCL against a fixed random orthogonal prior: nothing is learned of how classes are alike."""

    method: ClassVar[str] = "orthogonal"

    prior: Literal["orthogonal"] = Field("orthogonal", description="fixed; drcl has the others")
