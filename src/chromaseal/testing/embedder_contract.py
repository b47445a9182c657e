"""What every embedder must keep to: inherit the class and give it yours."""

from __future__ import annotations

import numpy as np

from chromaseal.embedding import Embedder

_TEXTS = (
    "TOTAL",
    "<EDGE> SUB TOTAL 12.50 <EDGE>",
    "<EDGE>\nTHANK YOU\nPLEASE COME AGAIN",
    "Café crème 3,20 €",
    "long " * 400,
)


class EmbedderContract:
    """Tests for pytest; a subclass overrides ``embedder``.

    Attributes:
        tolerance: the largest difference per number that a text's vector may show between two
            calls; 0 asks for the same bits.
    """

    tolerance: float = 0.0

    def embedder(self) -> Embedder:
        """Give the embedder under test; may be called more than once."""
        raise NotImplementedError

    def test_shape_and_type_are_those_of_the_pin(self) -> None:
        """Every text gets one finite float32 vector of the pinned dimension."""
        embedder = self.embedder()
        vectors = embedder.embed(_TEXTS)
        assert vectors.dtype == np.float32
        assert vectors.shape == (len(_TEXTS), embedder.pin.dimension)
        assert bool(np.isfinite(vectors).all())

    def test_no_texts_give_no_vectors(self) -> None:
        """An empty call is not an error and keeps the dimension."""
        embedder = self.embedder()
        assert embedder.embed([]).shape == (0, embedder.pin.dimension)

    def test_a_vector_does_not_depend_on_other_texts(self) -> None:
        """Alone, in company, in another order or repeated, a text keeps its vector."""
        embedder = self.embedder()
        together = embedder.embed(_TEXTS)
        alone = np.concatenate([embedder.embed([text]) for text in _TEXTS])
        turned = embedder.embed((*_TEXTS[::-1], *_TEXTS))
        self._assert_same(together, alone)
        self._assert_same(together, turned[: len(_TEXTS)][::-1])
        self._assert_same(together, turned[len(_TEXTS) :])

    def test_different_texts_get_different_vectors(self) -> None:
        """The model looks at the text."""
        vectors = self.embedder().embed(_TEXTS)
        assert len(np.unique(vectors, axis=0)) == len(_TEXTS)

    def test_pin_is_stable(self) -> None:
        """Two embedders made alike have equal pins with a name, a version and a dimension."""
        first, second = self.embedder().pin, self.embedder().pin
        assert first == second
        assert first.name
        assert first.version
        assert first.dimension > 0

    def _assert_same(self, one: object, other: object) -> None:
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=0, atol=self.tolerance)
