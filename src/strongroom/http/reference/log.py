"""The operations on the log, as the table has them."""

from collections.abc import Awaitable, Callable
from typing import Final

from msgspec.structs import replace

from strongroom.http.exchange import Reply
from strongroom.http.log import (
    EPOCHS,
    NOTE_TYPE,
    PATH,
    SCOPE,
    TILE_TYPE,
    TILES,
    EpochList,
    EpochNumber,
    TileName,
)
from strongroom.http.reference.operation import (
    Answer,
    Call,
    Example,
    Operation,
    Parameter,
    ReplyHeader,
    Rooms,
)
from strongroom.http.reference.probes import CACHE_CONTROL
from strongroom.http.reference.problem_examples import problem_example
from strongroom.http.reference.shared import WITH_A_KEY

TAG: Final = "Log"
EPOCH: Final = Parameter("epoch", "path", EpochNumber, required=True)
TILE: Final = Parameter("tile", "path", TileName, required=True)
VARY: Final = ReplyHeader(
    "Vary", "Another API key sees another log.", {"const": "Authorization", "type": "string"},
    always=True,
)  # fmt: skip


def _note(
    name: str,
    summary: str,
    description: str,
    answering: Callable[[Rooms, Call], Awaitable[Reply]],
    *,
    missing: str,
    example: Example,
) -> Operation:
    """One of the files of a few lines."""
    return Operation(
        id=f"get_log_{name.replace('.', '_')}",
        method="GET",
        path=f"{PATH}/{name}",
        tag=TAG,
        summary=summary,
        description=description,
        answering=answering,
        scope=SCOPE,
        answers=(Answer(status=200, description="The lines.", media=NOTE_TYPE, headers=(VARY,)),),
        problems=(*WITH_A_KEY, "parameter_unknown", missing, "log_unavailable"),
        examples=(example,),
    )


def _asked_for_more(name: str) -> Example:
    return Example(
        name=name,
        summary="There is the newest only, so nothing to choose",
        query={"size": "1"},
        status=422,
        answer=problem_example("parameter_unknown"),
    )


CHECKPOINT: Final = _note(
    "checkpoint",
    "Read the newest checkpoint",
    "How far the log of your legal entity has come, signed: a checkpoint as C2SP's tlog-checkpoint "
    "has it. With `/v1/log` as its prefix and your API key in Authorization, any client of C2SP's "
    "tlog-tiles can follow the log.",
    lambda rooms, call: rooms.log.checkpoint(call.asked),
    missing="log_not_signed",
    example=_asked_for_more("log_checkpoint_of_a_size"),
)
COSIGNED: Final = _note(
    "checkpoint.cosigned",
    "Read the newest checkpoint that a witness cosigned",
    "It may be of fewer entries than the newest one.",
    lambda rooms, call: rooms.log.cosigned(call.asked),
    missing="log_not_cosigned",
    example=Example(
        name="no_log_checkpoint_cosigned",
        summary="No witness knows of the log",
        status=404,
        answer=problem_example("log_not_cosigned"),
    ),
)
KEY: Final = _note(
    "key",
    "Read the log's public key",
    "As the signer wrote it, for whoever runs the log. An auditor takes it from somewhere else: "
    "beside the log it proves nothing.",
    lambda rooms, call: rooms.log.key(call.asked),
    missing="log_not_signed",
    example=_asked_for_more("log_key_of_a_size"),
)
TILE_OF_LOG: Final = Operation(
    id="get_log_tile",
    method="GET",
    path=TILES + "{tile}",
    tag=TAG,
    summary="Read a tile of the log",
    description="256 hashes of the tree, or 256 entries each after its length in two bytes, or as "
    "many as there are yet: a partial tile. What a tile holds never changes. A partial tile can go "
    "once its full one is there, which is to be asked for then.",
    answering=lambda rooms, call: rooms.log.tile(call.asked),
    scope=SCOPE,
    parameters=(TILE,),
    answers=(
        Answer(
            status=200,
            description="The tile.",
            media=TILE_TYPE,
            headers=(VARY, CACHE_CONTROL),
        ),
    ),
    problems=(*WITH_A_KEY, "parameter_unknown", "tile_not_found", "log_unavailable"),
    examples=(
        Example(
            name="no_such_tile",
            summary="A tile that there is not yet",
            status=404,
            answer=problem_example("tile_not_found"),
        ),
    ),
)

ALL_EPOCHS: Final = Operation(
    id="list_log_epochs",
    method="GET",
    path=EPOCHS,
    tag=TAG,
    summary="List the epochs of the log",
    description="A restore of an older backup begins another epoch: a log of its own, under "
    "another name, that says what was lost. The first one is also at `/v1/log`; a new one is here "
    "once it is signed. Nobody has checked what is shown: an auditor goes by the signatures.",
    answering=lambda rooms, call: rooms.log.epochs(call.asked),
    scope=SCOPE,
    answers=(Answer(status=200, description="The epochs.", type=EpochList, headers=(VARY,)),),
    problems=(*WITH_A_KEY, "parameter_unknown", "log_unavailable"),
    examples=(_asked_for_more("log_epochs_of_a_size"),),
)


def _of_an_epoch(
    first: Operation, answering: Callable[[Rooms, Call], Awaitable[Reply]]
) -> Operation:
    """The same of any epoch, by its number."""
    return replace(
        first,
        id=first.id.replace("get_log_", "get_log_epoch_"),
        path=first.path.replace(PATH, EPOCHS + "/{epoch}", 1),
        summary=f"{first.summary} of an epoch",
        description=f"As `{first.path}`, which is of the first one.",
        answering=answering,
        parameters=(EPOCH, *first.parameters),
        problems=(*first.problems, "log_epoch_not_found"),
        examples=tuple(replace(one, name=f"{one.name}_of_an_epoch") for one in first.examples),
    )


LOG: Final = (
    CHECKPOINT,
    COSIGNED,
    KEY,
    TILE_OF_LOG,
    ALL_EPOCHS,
    _of_an_epoch(
        CHECKPOINT, lambda rooms, call: rooms.log.checkpoint(call.asked, call.path["epoch"])
    ),
    _of_an_epoch(COSIGNED, lambda rooms, call: rooms.log.cosigned(call.asked, call.path["epoch"])),
    _of_an_epoch(KEY, lambda rooms, call: rooms.log.key(call.asked, call.path["epoch"])),
    _of_an_epoch(TILE_OF_LOG, lambda rooms, call: rooms.log.tile(call.asked, call.path["epoch"])),
)
