"""The logits and scores of each step of a search, kept if the settings ask for them."""

from torch import Tensor

from bart.configuration.generation_config import GenerationConfig
from bart.generation.output import GenerationOutput


class StepRecord:
    """Collects the logits and the scores of every step, as far as the settings ask for them."""

    def __init__(self, settings: GenerationConfig) -> None:
        wanted = settings.return_dict_in_generate
        self._logits: list[Tensor] | None = [] if wanted and settings.output_logits else None
        self._scores: list[Tensor] | None = [] if wanted and settings.output_scores else None

    def add_logits(self, logits: Tensor) -> None:
        """Keep a step's logits (R, V), before the processors."""
        if self._logits is not None:
            self._logits.append(logits.clone())

    def add_scores(self, scores: Tensor) -> None:
        """Keep a step's scores (R, V), after the processors."""
        if self._scores is not None:
            self._scores.append(scores.clone())

    @property
    def keeps_scores(self) -> bool:
        """Whether the scores are asked for."""
        return self._scores is not None

    @property
    def scores(self) -> tuple[Tensor, ...] | None:
        """The scores of all steps so far; None if they are not kept."""
        return None if self._scores is None else tuple(self._scores)

    def complete(self, output: GenerationOutput, surplus: int = 0) -> GenerationOutput:
        """Put all steps but the newest ``surplus`` into ``output``, and return it."""
        steps = slice(0, None if surplus == 0 else -surplus)
        output.logits = None if self._logits is None else tuple(self._logits[steps])
        output.scores = None if self._scores is None else tuple(self._scores[steps])
        return output
