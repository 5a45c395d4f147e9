"""The handbook's example: found by real models, answered by what the embedded one said when it was recorded.

python examples/test_rag.py records its answers anew.
"""

import importlib.util
import shutil
from pathlib import Path

import dspex

HERE = Path(__file__).parent
RECORDED = HERE / "cassettes" / "rag.jsonl"


def example():
    spec = importlib.util.spec_from_file_location("rag", HERE / "rag.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def model_calls(path):
    return path.read_text().count('"t":"call","kind":"lm"')


def test_rag_finds_the_right_entries_and_reads_the_answers(tmp_path):
    module = example()
    tape = shutil.copy(RECORDED, tmp_path / "rag.jsonl")
    # Searches and vectors are not on the tape, and so are real. A context that differs would be a new call.
    with dspex.cassette(tape):
        told = module.main()
    assert model_calls(tape) == model_calls(RECORDED) == 5
    assert told["found"]["meaning"] == len(module.QUESTIONS)
    assert told["right"] == 5
    assert told["answers"]["Who started the office in Lisbon?"] == "Tomas Brandt"


def record():
    module = example()
    retriever = module.index()["meaning"]
    questions = [question for question, _, _ in module.QUESTIONS[module.SHOWN :]]
    found, program = retriever(questions, 1), module.Rag(retriever)
    lm = dspex.LM("llamacpp/gemma-3-270m", temperature=0.0)
    with dspex.cassette(RECORDED, "record"), dspex.context(lm=lm):
        for question, [best] in zip(questions, found, strict=True):
            print(program.read(context=best.text, question=question).answer)


if __name__ == "__main__":
    record()
