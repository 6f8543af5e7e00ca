import torch

from xfeat.backbones.patches import flat_map, trunk_pass


class Trunk(torch.nn.Module):
    """A network with the outline of timm's, whose last map is given by a function."""

    num_features = 4

    def __init__(self, features: object, pool: object) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))
        self._features, self._pool = features, pool

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self._features(x * self.scale)  # type: ignore[operator, no-any-return]

    def forward_head(self, x: torch.Tensor) -> torch.Tensor:
        return self._pool(x)  # type: ignore[operator, no-any-return]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(x))


def square_map(x: torch.Tensor) -> torch.Tensor:
    """(n, 4, 4, 4): as many rows and columns as channels, so that the shape does not tell its layout."""
    return torch.cat([x, x[:, :1] + 1], 1)


def test_a_map_is_read_row_by_row() -> None:
    features = torch.arange(24).reshape(1, 2, 3, 4)
    assert flat_map(features)[0, :, 0].tolist() == list(range(12))


def test_the_layout_of_an_ambiguous_map_is_what_the_network_says() -> None:
    images = torch.randn(2, 3, 4, 4)
    first = trunk_pass(Trunk(square_map, lambda x: x.mean((2, 3))), (4, 4))
    trunk = Trunk(lambda x: square_map(x).permute(0, 2, 3, 1), lambda x: x.mean((1, 2)))
    trunk.output_fmt = "NHWC"
    last = trunk_pass(trunk, (4, 4))
    assert first is not None
    assert last is not None
    for (pooled, tokens), (other, others) in [(first.run(images), last.run(images))]:
        torch.testing.assert_close(pooled, other)
        torch.testing.assert_close(tokens, others)
        torch.testing.assert_close(tokens.mean(1), pooled)


def test_no_tokens_where_the_network_does_more_than_its_parts() -> None:
    class Other(Trunk):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + 1

    assert trunk_pass(Other(square_map, lambda x: x.mean((2, 3))), (4, 4)) is None


def test_no_tokens_where_class_tokens_are_not_counted() -> None:
    def sequence(x: torch.Tensor) -> torch.Tensor:
        return square_map(x).flatten(2).transpose(1, 2)

    plain, classed = (Trunk(sequence, lambda x: x.mean(1)) for _ in range(2))
    classed.cls_token = torch.nn.Parameter(torch.zeros(1))
    assert trunk_pass(plain, (4, 4)) is not None
    assert trunk_pass(classed, (4, 4)) is None
    classed.num_prefix_tokens = 1
    found = trunk_pass(classed, (4, 4))
    assert found is not None
    assert found.run(torch.zeros(1, 3, 4, 4))[1].shape == (1, 15, 4)
    assert found.about["left_out"] == "1 prefix tokens"


def test_no_tokens_of_another_width_than_the_features() -> None:
    assert trunk_pass(Trunk(lambda x: x, lambda x: x.mean((2, 3))), (8, 8)) is None
    assert trunk_pass(Trunk(lambda x: [x], lambda x: x[0].mean((2, 3))), (8, 8)) is None
