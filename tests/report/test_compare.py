"""Studies side by side: every number is the study's own, and what may not be compared is said."""

import dataclasses

import pytest
from fabricated import ACCURACY, BITS, PLANTED, header, run, runs, write_study

from ablate.record import Score
from ablate.report.analysis import read_study
from ablate.report.comparability import NO_POOLING
from ablate.report.compare import compare, flattened
from ablate.report.load import StudyError

RECIPE = """
study: {study}
arms:
  text: {{mixture: {{text: 1.0}}}}
  image: {{mixture: {{text: 0.5, pictures: 0.5}}, media_loss: {loss}}}
streams:
  text: {{part: 1/1}}
  pictures: {{encoder: {{name: {encoder}}}}}
tasks:
  planted: {{kind: multiple_choice, limit: {limit}}}
budget: {{match: flops, steps: {steps}}}
seeds: [0]
"""


def recipe(study="one", steps=1200, loss=1.0, encoder="patches", limit=0):
    return RECIPE.format(study=study, steps=steps, loss=loss, encoder=encoder, limit=limit)


@pytest.fixture
def study(tmp_path):
    def write(name, values=PLANTED, digests=None, margins=None, changed=None, **plan):
        records = [
            dataclasses.replace(
                record,
                study=name,
                identity=f"{name}/{record.identity}",
                data_digests={"stream/text": "a", "task/planted": "t", "tokenizer": "k"} | (digests or {}),
                **(changed or {}),
            )
            for record in runs(values)
        ]
        made = header(records, margins, **{"study": name, "recipe": recipe(name)} | plan)
        return write_study(tmp_path / name, records, made)

    return write


def rows(comparison, key="contrasts"):
    (table,) = [section.table for section in comparison.sections if section.key == key]
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def row(comparison, contrast="image vs text"):
    return next(found for found in rows(comparison) if found["contrast"] == contrast)


def test_each_study_keeps_its_own_gain_interval_pairs_and_verdict(study):
    shifted = PLANTED | {"image": [value - 0.5 for value in PLANTED["image"]]}
    folders = [study("one"), study("two", shifted)]
    found = row(compare(folders))
    for name, folder in zip(("one", "two"), folders, strict=True):
        own = next(one for one in read_study(folder).contrasts if (one.arm, one.kind) == ("image", "total"))
        low, high = own.interval95
        assert found[f"{name}: gain"] == f"{own.estimate.mean_gain:+.3f} [{low:+.3f}, {high:+.3f}]"
        assert found[f"{name}: n"] == "5"
        assert found[f"{name}: verdict"] == own.printed_verdict
    assert found["comparable"] == "yes"


def test_nothing_is_pooled(study):
    found = compare([study("one"), study("two")])
    assert found.sentences[-1] == NO_POOLING
    assert not any("pooled" in column for section in found.sections for column in section.table.columns)


def test_studies_that_agree_say_so_and_under_which_other_conditions(study):
    found = compare([study("one"), study("two", recipe=recipe("two", steps=800))])
    assert "Items, endpoints, margins, data and what is held equal agree." in found.sentences
    assert "The gains are effects under other conditions: budget.steps." in found.sentences
    assert ["recipe: budget.steps", "1200", "800"] in [
        list(one.values()) for one in rows(found, "differences")
    ]


@pytest.mark.parametrize(
    ("change", "comparable", "said"),
    [
        ({"digests": {"task/planted": "u"}}, "not: other items", "planted/accuracy: scored on other items"),
        ({"digests": {"stream/text": "b"}}, "not: other training data", "stream/text is other data"),
        ({"digests": {"tokenizer": "l"}}, "not: other training data", "tokenizer is other data"),
        ({"margins": {ACCURACY: 0.02}}, "gains only: other margins", "judged by other margins"),
        ({"match": "positions"}, "not: other quantity held equal", "Another quantity is held equal"),
        ({"recipe": recipe("two", limit=9)}, "not: other task settings", "tasks.planted.limit"),
        ({"recipe": recipe("two", loss=0.0)}, "not: other arms of that name", "image differs in mixture"),
        (
            {"recipe": recipe("two", encoder="vit")},
            "not: other arms of that name",
            "image differs in mixture",
        ),
    ],
)
def test_what_may_not_be_compared_is_said_in_its_row_and_in_words(study, change, comparable, said):
    found = compare([study("one"), study("two", **change)])
    assert row(found)["comparable"] == comparable
    assert any(said in sentence for sentence in found.sentences)
    assert not any(sentence.startswith("Items, endpoints, margins") for sentence in found.sentences)


def test_an_encoder_of_another_arm_forbids_nothing(study):
    values = {"text": PLANTED["text"], "other": PLANTED["text"][::-1]}
    found = compare([study("one", values), study("two", values, recipe=recipe("two", encoder="vit"))])
    assert row(found, "other vs text")["comparable"] == "yes"


def test_a_control_of_another_arm_is_another_control(study):
    found = compare([study("one"), study("two", recipe=recipe("two", loss=0.0))])
    assert row(found, "image.shuffled vs text")["comparable"] == "not: other arms of that name"


def test_other_numbers_of_items_and_another_direction_forbid_the_comparison(study, tmp_path):
    fewer = [
        run(arm, s, {ACCURACY: Score(v, 99, False)}) for arm in PLANTED for s, v in enumerate(PLANTED[arm])
    ]
    folder = write_study(tmp_path / "two", fewer, header(fewer, study="two"))
    found = compare([study("one"), folder])
    assert row(found)["comparable"].startswith("not: other items; not: other meaning")


def test_a_key_that_an_older_recipe_lacks_is_no_difference(study):
    older = recipe("two").replace(", limit: 0", "").replace(", media_loss: 1.0", "")
    found = compare([study("one"), study("two", recipe=older)])
    assert row(found)["comparable"] == "yes"
    assert ["recipe: tasks.planted.limit", "0", "–"] in [
        list(one.values()) for one in rows(found, "differences")
    ]


def test_a_recipe_that_is_not_stored_is_missed_and_not_taken_for_the_same(study):
    found = compare([study("one"), study("two", recipe="")])
    assert "Whether the recipe of two differs cannot be told: none is stored." in found.sentences


def test_a_contrast_of_one_study_is_not_compared(study):
    fewer = {arm: values for arm, values in PLANTED.items() if arm != "image.shuffled"}
    found = row(compare([study("one"), study("two", fewer)]), "image vs image.shuffled")
    assert found["comparable"] == "in one study only"
    assert found["two: gain"] == "–"


def test_endpoints_without_a_margin_stand_apart(study, tmp_path):
    records = [
        run(arm, s, {ACCURACY: 0.5 + s / 100, BITS: 2.0 + s / 9}) for arm in ("text", "o") for s in (0, 1)
    ]
    folder = write_study(tmp_path / "two", records, header(records, study="two"))
    found = compare([study("one"), folder])
    assert {one["endpoint"] for one in rows(found)} == {ACCURACY}
    assert {one["endpoint"] for one in rows(found, "others")} == {BITS}


def test_runs_that_two_studies_share_are_counted(study, tmp_path):
    records = runs(PLANTED)
    shared = [write_study(tmp_path / name, records, header(records, study=name)) for name in ("a", "b")]
    assert "a and b share 20 runs: they are no independent evidence." in compare(shared).sentences


def test_missing_pairs_are_shown_and_not_averaged_over(study):
    folder = study("two")
    (folder / "records" / "image-seed3.json").unlink()
    found = row(compare([study("one"), folder]))
    assert found["two: n"] == "4 of 5 (without 3)"
    assert found["two: verdict"] == "inconclusive"


def test_studies_of_one_name_are_told_apart_by_their_folders(study, tmp_path):
    records = runs(PLANTED)
    folders = [write_study(tmp_path / at / "same", records, header(records)) for at in ("x", "y")]
    assert compare(folders).names == [f"fabricated ({folder})" for folder in folders]


def test_three_studies_stand_in_one_table(study):
    found = compare([study("one"), study("two"), study("three", digests={"stream/text": "b"})])
    assert {"one: gain", "two: gain", "three: gain"} <= set(found.sections[0].table.columns)
    assert any("(one and two against three)" in sentence for sentence in found.sentences)


def test_fewer_than_two_studies_or_one_twice_are_refused(study):
    folder = study("one")
    with pytest.raises(StudyError, match="two studies or more"):
        compare([folder])
    with pytest.raises(StudyError, match="named twice"):
        compare([folder, folder / ".." / folder.name])


def test_the_comparison_is_markdown_without_markup_of_names(study):
    text = compare([study("one"), study("<b>two|", recipe="study: <script>")]).markdown
    assert text.startswith("# one beside &lt;b&gt;two\\|\n")
    assert "<script" not in text
    widths = {line.replace("\\|", "").count("|") for line in text.split("\n") if line.startswith("| planted")}
    assert len(widths) == 1


def test_recipes_that_are_no_mappings_have_no_keys():
    assert flattened("- a\n- b") == {}
    assert flattened("a: [1, {b: 2}]\nc: {d: {}, e: x}") == {"a": '[1, {"b": 2}]', "c.d": "{}", "c.e": '"x"'}
    assert flattened("a: [") == {}
