import pytest
import torch

from calibrant import models
from calibrant.errors import InputError
from calibrant.models import GlobalPoolingCNN, TextCNN


def test_padding_in_front_changes_nothing_once_a_window_is_empty():
    """A window spans 21 steps: behind as many empty ones the rest of the padding adds nothing new."""
    torch.manual_seed(0)
    net = TextCNN(4, torch.randn(30, 8), width=16).double()
    net.embedding.weight.data[0] = 0
    text = torch.randint(1, 30, (3, 25))
    padded = [net(torch.nn.functional.pad(text, (pad, 0))) for pad in (21, 40)]
    torch.testing.assert_close(padded[0], padded[1])
    assert net(text[:, :21]).shape == (3, 4)
    with pytest.raises(RuntimeError):
        net(text[:, :20])


@pytest.mark.parametrize("batch", [1, 5, 40])
def test_leaving_out_common_padding_changes_nothing(batch):
    torch.manual_seed(0)
    vectors = torch.randn(30, 8, dtype=torch.float64)
    net = TextCNN(4, vectors, width=16).double()
    tokens = torch.randint(1, 30, (batch, 90))
    for row, length in zip(tokens, torch.randint(0, 91, (batch,)).tolist(), strict=True):
        row[: 90 - length] = 0
    tokens[0] = 0
    gradients = []
    for logits in (net(tokens), net.classifier(net.net.features(vectors[tokens]))):
        gradients.append((logits, *torch.autograd.grad(logits.square().sum(), net.net.body[0].weight)))
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("freeze", [True, False])
def test_vectors_are_trained_only_when_asked_and_padding_never(freeze):
    vectors = torch.randn(10, 8)
    vectors[0] = 0
    net = models.create("text_cnn", num_classes=3, vectors=vectors, freeze=freeze, width=16)
    net(torch.randint(0, 10, (4, 30))).square().sum().backward()
    weight = net.embedding.weight
    assert weight.requires_grad != freeze
    if not freeze:
        assert weight.grad[0].abs().max() == 0 < weight.grad[1:].abs().max()
    assert net.embedding.weight.data_ptr() != vectors.data_ptr()


def test_parts_make_the_whole():
    vectors = torch.randn(10, 8)
    net = TextCNN(3, vectors, width=16)
    tokens = torch.randint(0, 10, (4, 30), dtype=torch.int32)
    assert net.features(tokens).shape == (4, 16)
    torch.testing.assert_close(net(tokens), net.classifier(net.features(tokens)))
    plain = GlobalPoolingCNN(3, 8, 16)
    plain.load_state_dict(
        net.net.state_dict() | {f"classifier.{k}": v for k, v in net.classifier.state_dict().items()}
    )
    torch.testing.assert_close(plain(vectors[tokens]), net(tokens))


def test_without_vectors_it_is_said_what_is_needed():
    with pytest.raises(InputError, match="'text_cnn' takes texts whose words have vectors"):
        models.create("text_cnn", num_classes=3)
