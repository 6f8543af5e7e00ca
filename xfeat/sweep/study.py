"""Trials that follow from those before: Optuna's TPE, in a database that any number of processes share.

A study's trials that run are owned by file locks of the sweep's folder, like any trial. One that runs and that nobody
owns belonged to a process that died; whoever finds it goes on with it.
"""

import json
import warnings
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

from xfeat.cache.fingerprint import canonical_json
from xfeat.errors import InputError
from xfeat.sweep.config import TRIALS, SweepConfig
from xfeat.sweep.folder import SweepFolder
from xfeat.sweep.space import Choice, Space, Values
from xfeat.training.seeds import stream_seed

if TYPE_CHECKING:
    import optuna

SECONDS = 60  # to wait for a database that another process writes to


def load_optuna() -> ModuleType:
    """Optuna, silenced.

    Raises:
        InputError: it is not installed.
    """
    try:
        import optuna
    except ModuleNotFoundError:
        raise InputError('search: tpe needs Optuna: pip install "xfeat[sweep]"') from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def check_storage(config: SweepConfig) -> None:
    """Refuse a database that is named and cannot be reached, before a sweep has a folder.

    Raises:
        InputError: that, or Optuna is not installed.
    """
    load_optuna()
    from sqlalchemy import create_engine

    if config.storage is not None:
        with _reached():
            engine = create_engine(config.storage)
            engine.connect().close()
            engine.dispose()


def study_trials(config: SweepConfig, folder: SweepFolder, name: str) -> Generator[tuple[int, Values], None, None]:
    """Trials to be run by this process, each owned by it until the next is asked for; its record must be there then.

    Ends when as many trials as wanted are over, whichever process ran them.

    Args:
        config: of the sweep.
        folder: of the sweep; all its processes share it.
        name: of the study.

    Raises:
        InputError: Optuna is not installed, or the database cannot be opened.
    """
    with _opened(config, folder, name) as study, ExitStack() as owned:
        while True:
            with folder.locked():
                trial = _left_behind(study, folder, owned) or _asked(study, config, folder, owned)
                running = _running(study)
            if trial is None:
                if not running:
                    return
                with folder.claimed(running[0].number, wait=True):
                    continue
            if not folder.finished(trial.number):
                yield trial.number, _values(trial.params)
            with folder.locked():
                _tell(study, folder, trial.number)
            owned.close()


@contextmanager
def _opened(config: SweepConfig, folder: SweepFolder, name: str) -> Iterator["optuna.Study"]:
    optuna = load_optuna()
    url = config.storage or f"sqlite:///{folder.path / 'study.db'}"
    waits = {"connect_args": {"timeout": SECONDS}} if url.startswith("sqlite") else {}
    with _reached(), folder.locked():
        storage = optuna.storages.RDBStorage(url, engine_kwargs=waits)
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            direction="minimize" if config.lower else "maximize",
            load_if_exists=True,
        )
    try:
        yield study
    finally:
        storage.remove_session()
        storage.engine.dispose()


@contextmanager
def _reached() -> Iterator[None]:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, ModuleNotFoundError) as error:
        raise InputError(f"storage cannot be opened ({type(error).__name__}): {_line(error)}") from None


def _running(study: "optuna.Study") -> list[Any]:
    from optuna.trial import TrialState

    return list(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))


def _left_behind(study: "optuna.Study", folder: SweepFolder, owned: ExitStack) -> Any:
    """A trial that runs and that nobody owns, now owned."""
    for trial in _running(study):
        if owned.enter_context(folder.claimed(trial.number)):
            return trial
        owned.close()
    return None


def _asked(study: "optuna.Study", config: SweepConfig, folder: SweepFolder, owned: ExitStack) -> Any:
    """A new trial, owned; None where there are as many as wanted."""
    optuna = load_optuna()
    count = len(study.get_trials(deepcopy=False))
    if count >= (config.trials or TRIALS):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what older releases call experimental
        # A seed for every trial: processes that start from one would all draw the same.
        seed = stream_seed(config.sampler_seed, "tpe", str(count)) % (1 << 32)
        study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        trial = study.ask(_distributions(config.parsed))
    owned.enter_context(folder.claimed(trial.number, wait=True))
    return trial


def _tell(study: "optuna.Study", folder: SweepFolder, number: int) -> None:
    from optuna.trial import TrialState

    record = folder.record(number)
    if record.score is None:
        study.tell(number, state=TrialState.FAIL)
    else:
        study.tell(number, record.score)


def _distributions(space: Space) -> dict[str, Any]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    found: dict[str, Any] = {}
    for name, one in space.items():
        if isinstance(one, Choice):
            # As text: a database takes plain values only, and a setting may be a list.
            found[name] = CategoricalDistribution([canonical_json(value) for value in one.values])
        elif one.whole:
            found[name] = IntDistribution(int(one.low), int(one.high), one.log, int(one.step or 1))
        else:
            found[name] = FloatDistribution(one.low, one.high, one.log, one.step)
    return found


def _values(params: dict[str, Any]) -> Values:
    return {name: json.loads(value) if isinstance(value, str) else value for name, value in params.items()}


def _line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else "no reason given"
