"""What a customer wants who writes a message."""

from rag_platform.training.readers.messages import TEXT, MessagesReader
from rag_platform.training.spec import ModelSpec
from rag_platform.training.tasks.classification import Classification
from rag_platform.training.trainers.minilm import MiniLmTrainer
from rag_platform.training.trainers.tfidf import TfidfTrainer

# Messages that have none of the other intents, in data that has such.
OUT_OF_SCOPE = "oos"

SPEC = ModelSpec(
    name="intent_classifier",
    description="What a customer wants, by the words and the meaning of a message.",
    task=Classification(out_of_scope=OUT_OF_SCOPE, sliced={TEXT: (5, 10, 20)}),
    reader=MessagesReader(),
    trainers={
        "default": TfidfTrainer(out_of_scope=OUT_OF_SCOPE),
        "minilm": MiniLmTrainer(out_of_scope=OUT_OF_SCOPE),
    },
    gates={"accuracy": 0.85, "macro_f1": 0.80},
    schedule="0 2 * * 0",
    sample="intent_classifier",
    folds=5,
    repeats=2,
    unit="message",
    tags={"domain": "support"},
)
