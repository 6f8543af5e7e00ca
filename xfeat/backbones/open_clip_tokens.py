"""Patch and word tokens of open_clip's towers: what the last layer gives, before it is pooled to one vector."""

from typing import Any

from xfeat.backbones.network import TokenPass
from xfeat.backbones.patches import flat_map, trunk_pass


def patch_pass(visual: Any) -> TokenPass | None:
    """The patch tokens of an image tower, without its class token; None where there are none.

    A final norm is applied where the model applies it to every token. Where it norms after pooling (CLIPA) or pools by
    attention (CoCa), tokens are what pooling is given.
    """
    from open_clip.modified_resnet import ModifiedResNet
    from open_clip.timm_model import TimmModel
    from open_clip.transformer import VisionTransformer

    if isinstance(visual, VisionTransformer):
        return _vit_pass(visual)
    if isinstance(visual, ModifiedResNet):
        return _resnet_pass(visual)
    if isinstance(visual, TimmModel):
        return trunk_pass(visual.trunk, tuple(visual.image_size), visual.head)
    return None


def word_pass(model: Any, tokenizer: Any) -> TokenPass | None:
    """The word tokens of a text tower, from the start mark to the end mark; None where a text's end cannot be told.

    Args:
        model: the whole model; its image tower may be gone.
        tokenizer: as open_clip builds it.
    """
    from open_clip.hf_model import HFTextEncoder
    from open_clip.tokenizer import SimpleTokenizer

    text = getattr(model, "text", None)
    if isinstance(text, HFTextEncoder):
        return _hf_pass(text)
    pool = model.text_pool_type if text is None else text.pool_type
    class_token = text is not None and text.cls_emb is not None
    end = None
    if isinstance(tokenizer, SimpleTokenizer) and (pool == "argmax" or class_token):
        end = tokenizer.eot_token_id
    elif pool == "eos" and not class_token:
        end = model.text_eos_id if text is None else text.eos_id
    if end is None:
        return None

    def run(batch: Any) -> tuple[Any, Any]:
        found = model.forward_intermediates(
            text=batch, text_indices=1, normalize=False, normalize_intermediates=not class_token
        )
        return found["text_features"], found["text_intermediates"][-1]

    def kept(batch: Any) -> Any:
        import torch

        last = (batch == end).int().argmax(dim=1)
        return torch.arange(batch.shape[1]) <= last[:, None]

    width = (model if text is None else text).ln_final.weight.shape[0]
    # A class token behind the text is normed after it is taken out (CoCa); the words are not.
    norm, left_out = ("none", "padding, class token") if class_token else ("final", "padding")
    return TokenPass(run, width, {"unit": "word piece", "layer": "last", "norm": norm, "left_out": left_out}, kept)


def _vit_pass(visual: Any) -> TokenPass:
    normed = visual.attn_pool is None and not visual.final_ln_after_pool

    def run(batch: Any) -> tuple[Any, Any]:
        found = visual.forward_intermediates(batch, indices=1, normalize_intermediates=normed, output_fmt="NLC")
        return found["image_features"], found["image_intermediates"][-1]

    about = {"unit": "patch", "layer": "last", "norm": "final" if normed else "none", "left_out": "class token"}
    return TokenPass(run, visual.conv1.out_channels, about)


def _resnet_pass(visual: Any) -> TokenPass:
    def run(batch: Any) -> tuple[Any, Any]:
        found = visual.forward_intermediates(batch, indices=1)
        return found["image_features"], flat_map(found["image_intermediates"][-1])

    about = {"unit": "patch", "layer": "last", "norm": "none", "left_out": "nothing"}
    return TokenPass(run, visual.attnpool.q_proj.in_features, about)


def _hf_pass(text: Any) -> TokenPass:
    padding = text.config.pad_token_id

    def run(batch: Any) -> tuple[Any, Any]:
        mask = (batch != padding).long()
        found = text.transformer(input_ids=batch, attention_mask=mask)
        return text.proj(text.pooler(found, mask)), found.last_hidden_state

    width = int(getattr(text.config, "hidden_size", 0) or text.config.d_model)
    about = {"unit": "word piece", "layer": "last", "norm": "the network's own", "left_out": "padding"}
    return TokenPass(run, width, about, lambda batch: batch != padding)
