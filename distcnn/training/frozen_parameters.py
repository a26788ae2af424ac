"""The parameters that --freeze names: those of the first layers, or those of some names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from distcnn.config.hints import suggestion
from distcnn.errors import ConfigError
from distcnn.network.net import Net
from distcnn.system.counts import counted, plural


def frozen_parameters(setting: int | tuple[str, ...] | None, net: Net) -> list[str]:
    """Return the keys of the parameters that training leaves as they are.

    setting: how many of the first layers to freeze, or names of parameters, which may be patterns; None: nothing.
    net: the net.

    Raises ConfigError if a name fits no parameter, or if nothing or everything would be frozen.
    """
    if setting is None:
        return []
    names = list(net.parameters)
    if not names:
        written = setting if isinstance(setting, int) else ",".join(setting)
        raise ConfigError(f"--freeze {written}: the network has no parameters; leave the option out")
    if isinstance(setting, int):
        frozen = [name for name in names if _layer(name) < setting]
    else:
        _require_known(setting, names)
        frozen = [name for name in names if any(fnmatchcase(name, word) for word in setting)]
    numbers = sorted({_layer(name) for name in names})
    if not frozen:
        remedy = f"--freeze {numbers[0] + 1} freezes the first layer that has some"
        raise ConfigError(f"--freeze {setting}: these layers have no parameters; {remedy}")
    if len(frozen) == len(names):
        remedy = f"leave out layer {numbers[-1]}, the last one with parameters"
        raise ConfigError(f"--freeze: this leaves nothing to train; {remedy}")
    return frozen


def told(net: Net) -> Iterator[str]:
    """Yield a line that says what is frozen, if anything is."""
    freezing = net.shared.freezing
    left = sum(stop - start for start, stop, _ in freezing.spans)
    layers = [str(k) for k, is_frozen in enumerate(freezing.layers) if is_frozen]
    more = [name for name in net.parameters if name in freezing.names and not freezing.layers[_layer(name)]]
    which = [*([f"{plural(len(layers), 'layer')} {', '.join(layers)}"] if layers else []), *more]
    if freezing.names:
        yield f"frozen: {net.trained - left:,} of {counted(net.trained, 'parameter')}: {', '.join(which)}"


def _require_known(words: Sequence[str], names: Sequence[str]) -> None:
    """Raise ConfigError unless each word fits a parameter."""
    for word in words:
        if not any(fnmatchcase(name, word) for name in names):
            some = names if len(names) < 5 else [*names[:3], f"... {names[-1]}"]
            hint = suggestion(word, names) or f"; they are {', '.join(some)}"
            raise ConfigError(f"--freeze {word}: no parameter has this name{hint}")


def _layer(name: str) -> int:
    """Return the number of the layer in the key of a parameter."""
    return int(name.partition(".")[0])
