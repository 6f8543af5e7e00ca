import torch

from xfeat.evaluation.relevance import same_class, shared_class


def test_same_class_compares_labels_of_the_block() -> None:
    relevance = same_class(torch.tensor([0, 1, 2, 1]), torch.tensor([1, 1, 0]))
    assert relevance(slice(1, 4)).tolist() == [[True, True, False], [False, False, False], [True, True, False]]


def test_shared_class_needs_one_class_in_common() -> None:
    queries = torch.tensor([[1, 1, 0], [0, 0, 1]], dtype=torch.uint8)
    gallery = torch.tensor([[1, 0, 0], [0, 1, 1], [1, 1, 1]], dtype=torch.uint8)
    assert shared_class(queries, gallery)(slice(0, 2)).tolist() == [[True, True, True], [False, True, True]]


def test_shared_class_counts_beyond_what_a_byte_holds() -> None:
    """256 classes in common would be 0 in uint8 arithmetic."""
    ones = torch.ones(1, 256, dtype=torch.uint8)
    assert shared_class(ones, ones)(slice(0, 1)).tolist() == [[True]]
