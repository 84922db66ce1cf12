"""What is learned about a model is kept with it, added to what is known, and forgotten when it is another one."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import pytest
from django.db import connection

from llmapp.core.learned import Learned
from llmapp.models import LanguageModel
from llmapp.runs.notebook import DatabaseNotebook, forget, learn
from llmapp.runs.threads import DatabaseThreads
from tests.support.models import make_model, spec_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def model(transactional_db: None) -> LanguageModel:
    return make_model()


def known(model: LanguageModel) -> Learned:
    return LanguageModel.objects.get(pk=model.pk).lessons


async def test_a_lesson_is_kept_with_the_model(transactional_db: None) -> None:
    threads = DatabaseThreads(1, "test")
    model = await threads.call(make_model)
    spec = await threads.call(spec_of, model)
    await DatabaseNotebook(threads, uuid.uuid4()).learn(spec, Learned(window=8192))
    assert await threads.call(known, model) == Learned(window=8192)
    threads.close()


def test_what_is_new_is_added_to_what_is_known(model: LanguageModel) -> None:
    learn(model.pk, Learned(window=8192, refused=frozenset({"top_k"})))
    learn(model.pk, Learned(window=4096, renamed={"max_tokens": "max_completion_tokens"}))
    learn(model.pk, Learned(refused=frozenset({"tool_choice"})))
    assert known(model) == Learned(
        window=4096, refused=frozenset({"top_k", "tool_choice"}), renamed={"max_tokens": "max_completion_tokens"}
    )


def test_two_that_learn_at_once_are_both_heard(model: LanguageModel) -> None:
    names = [f"parameter_{number}" for number in range(8)]
    ready = threading.Barrier(len(names))

    def work(name: str) -> None:
        ready.wait()
        learn(model.pk, Learned(refused=frozenset({name})))
        connection.close()

    workers = [threading.Thread(target=work, args=[name]) for name in names]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert known(model).refused == frozenset(names)


CHANGES: list[tuple[dict[str, Any], bool]] = [
    ({"model": "another"}, True),
    ({"context_window": 1000}, True),
    ({"max_output_tokens": 1000}, False),
    ({"name": "renamed"}, False),
    ({}, False),
]


@pytest.mark.parametrize("values, forgotten", CHANGES)
def test_what_was_learned_goes_with_what_it_is_about(
    model: LanguageModel, values: dict[str, Any], forgotten: bool
) -> None:
    learn(model.pk, Learned(window=8192))
    row = LanguageModel.objects.get(pk=model.pk)
    for name, value in values.items():
        setattr(row, name, value)
    row.save()
    assert (known(model) == Learned()) is forgotten


def test_another_provider_is_another_model(model: LanguageModel) -> None:
    learn(model.pk, Learned(window=8192))
    row = LanguageModel.objects.get(pk=model.pk)
    row.provider = make_model(name="elsewhere").provider
    row.save()
    assert known(model) == Learned()


def test_it_can_be_forgotten(model: LanguageModel) -> None:
    learn(model.pk, Learned(window=8192))
    assert forget(model.pk)
    assert not forget(model.pk)
    assert known(model) == Learned()


def test_a_model_that_is_gone_learns_nothing(model: LanguageModel) -> None:
    learn(model.pk + 1, Learned(window=8192))
    assert known(model) == Learned()
