"""The code location: what Dagster loads.

Pipelines are named one by one, not discovered: discovery by Dagster's component registry imports
every integration that is installed, which takes longer than all of this.
"""

import warnings

import dagster as dg

from rag_platform.defs.documents.definitions import documents
from rag_platform.defs.enrichment.definitions import enrichment
from rag_platform.defs.indexes.evaluation import evaluations
from rag_platform.defs.indexes.lifecycle import lifecycle
from rag_platform.defs.operations.costs import costs_definitions
from rag_platform.defs.operations.dead_letters import letters_definitions
from rag_platform.defs.operations.definitions import operations
from rag_platform.defs.operations.notifications import notification_definitions
from rag_platform.defs.operations.prompts import prompts_definitions
from rag_platform.defs.resources import platform_resource
from rag_platform.defs.rides.definitions import rides
from rag_platform.defs.training.definitions import model_lines, training
from rag_platform.settings import load

# Backfill policies are in beta in 1.13; nothing else takes a range of windows in one run.
warnings.filterwarnings("ignore", category=dg.BetaWarning, message=".*backfill_policy.*")

_settings = load()

defs = dg.Definitions.merge(
    documents(_settings),
    dg.Definitions(assets=evaluations(_settings)),
    lifecycle(_settings),
    enrichment(_settings),
    rides(_settings),
    training(_settings),
    operations(_settings),
    costs_definitions(),
    letters_definitions(),
    notification_definitions(_settings, model_lines),
    prompts_definitions(_settings),
    dg.Definitions(
        resources={"platform": platform_resource(_settings)},
        # Steps are short and share loaded models: a process each would cost more than the step.
        executor=dg.in_process_executor,
    ),
)
