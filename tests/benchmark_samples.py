"""A few invented items of every task kind, in the fields of its source."""

from typing import Any

BLIMP = [
    {"sentence_good": good, "sentence_bad": bad, "field": field, "UID": uid, "pairID": str(number)}
    for number, (good, bad, field, uid) in enumerate(
        [
            ("Who does Ann admire?", "Who does Ann admire Bob and?", "syntax", "coordinate_island"),
            ("What did Carl see?", "What did Carl see a cat and?", "syntax", "coordinate_island"),
            ("The cats sleep.", "The cats sleeps.", "morphology", "agreement"),
            ("A cat sleeps.", "A cat sleep often.", "morphology", "agreement"),
            ("Nobody ever won.", "Everybody ever won there.", "semantics", "npi"),
            ("Ann thinks she won.", "Ann thinks herself won.", "syntax/semantics", "binding"),
        ]
    )
]
HELLASWAG = [
    {
        "ind": number,
        "activity_label": "Baking bread",
        "ctx_a": "[header] How to bake [title] Mix the flour.",
        "ctx_b": beginning,
        "ctx": "unused",
        "endings": ["puts it  into the oven.", "flies off [substeps].", "sings", "bakes the moon, twice."],
        "label": label,
        "source_id": source,
    }
    for number, (beginning, label, source) in enumerate(
        [("then SHE", "0", "wikihow~1"), ("", 2, "wikihow~1"), ("he", "3", "activitynet~v")]
    )
]
ARC_ORIGINAL = {
    "id": "Mercury_1",
    "question": {
        "stem": "Which is hot?",
        "choices": [
            {"text": "ice", "label": "1"},
            {"text": "the sun", "label": "2"},
            {"text": "tea pot", "label": "3"},
        ],
    },
    "answerKey": "2",
}
ARC_HUB = [
    {
        "id": "Mercury_2",
        "question": "Which is cold?",
        "choices": {"text": ["ice", "fire", "a very hot stone", "sun"], "label": ["A", "B", "C", "D"]},
        "answerKey": "A",
    },
    {
        "id": "Mercury_3",
        "question": "Which is wet? ",
        "choices": {"text": ["rain", "dust", "sand", "dry sand"], "label": ["A", "B", "C", "D"]},
        "answerKey": "D",
    },
]
OPENBOOKQA = [
    {
        "id": f"7-{number}",
        "question_stem": stem,
        "choices": {"text": ["a puppy learning", "a star", "rocks", "x"], "label": ["A", "B", "C", "D"]},
        "answerKey": key,
    }
    for number, (stem, key) in enumerate([("The sun is", "B"), ("Pets are", " A"), ("A beach has", "C")])
]
COMMONSENSE_QA = [
    {
        "id": str(number),
        "question": question,
        "question_concept": concept,
        "choices": {"text": ["bank", "a library", "mall", "the street", "x"], "label": list("ABCDE")},
        "answerKey": key,
    }
    for number, (question, concept, key) in enumerate(
        [
            ("Where is money?", "money", "A"),
            (" Where are books? ", "book", "B"),
            ("A book is in?", "book", "E"),
        ]
    )
]
PIQA = [
    {"goal": "How do I cool tea?", "sol1": "Wait.", "sol2": "Put it into the oven.", "label": 0},
    {"goal": "drawer", "sol1": "eat it ", "sol2": "pull", "label": 1},
    {"goal": "open a tin", "sol1": "with an opener", "sol2": "with a feather", "label": 0},
]
COPA = [
    {
        "premise": "It was dark.",
        "choice1": "Night fell.",
        "choice2": "I ate an apple.",
        "question": "cause",
        "label": 0,
    },
    {
        "premise": "I fell. ",
        "choice1": "My knee hurt.",
        "choice2": "I flew.",
        "question": "effect",
        "label": 0,
    },
    {
        "premise": "He slept.",
        "choice1": "He sang.",
        "choice2": "It was late.",
        "question": "cause",
        "label": 1,
    },
]
for number, row in enumerate(COPA):
    row["idx"] = number
WINOGRANDE = [
    {
        "qID": "A-1",
        "sentence": "Ann left Bea since _ was late.",
        "option1": "Ann",
        "option2": "Bea",
        "answer": "1",
    },
    {
        "qID": "A-2",
        "sentence": "Ann left Bea though _ was late.",
        "option1": "Ann",
        "option2": "Bea",
        "answer": "2",
    },
    {
        "qID": "B-1",
        "sentence": "The cup broke the tray as the _ fell.",
        "option1": "cup",
        "option2": "big tray",
        "answer": "1",
    },
]
SCIQ = [
    {
        "question": question,
        "distractor1": "iron",
        "distractor2": "gold dust",
        "distractor3": "x",
        "correct_answer": answer,
        "support": support,
    }
    for question, answer, support in [
        ("What do we breathe?", "air", " Air is breathed.\nAlways."),
        ("What is wet?", "water", ""),
        ("What burns?", "dry wood", "Wood burns."),
    ]
]
BOOLQ = [
    {"question": "is ice cold", "passage": "Ice is frozen water.", "idx": 0, "label": 1},
    {"question": "is ice hot", "passage": "Ice is frozen water.", "idx": 1, "label": 0},
    {"question": "do cats fly", "passage": "Cats walk -- and sleep.", "idx": 2, "label": False},
]
LAMBADA = [
    {"text": "Ann had a cat and a dog. She fed the cat and then she walked the dog"},
    {"text": '"Stop," he said.\n\nNobody did. "I said stop'},
    {"text": "one two  three"},
]
EWOK = [
    {
        "Domain": domain,
        "Context1": f"{first} Ann.",
        "Context2": f"{second} Ann instead.",
        "Target1": "Ann is glad.",
        "Target2": "Ann is very sad.",
    }
    for domain, first, second in [
        ("social-relations", "Bob helps", "Bob robs"),
        ("social-relations", "Bea greets", "Bea pushes"),
        ("spatial-relations", "A chair is near", "A bear is near"),
    ]
]
VICOMTE = {
    "color": [
        {"sub": "clock", "obj": "white", "alt": "silver", "split": "train"},
        {"sub": "coal", "obj": "black", "alt": "pink", "split": "train"},
        {"sub": "snow", "obj": "white", "alt": "black", "split": "test"},
    ],
    "size_larger": [
        {"sub": "door", "obj": "lip", "alt": "earth", "split": "dev"},
        {"sub": "door", "obj": "pea", "alt": "house", "split": "dev"},
    ],
}
COLOURS = ("pink", "green", "yellow", "black", "purple", "orange", "brown", "blue", "gray", "white", "red")
OBJECTS = [
    {"class_id": "/m/1", "display_name": "Pig", "object_s": "pig", "object_pl": "pigs", "areis_pl": "are"},
    {"class_id": "/m/2", "display_name": "Grass", "object_s": None, "object_pl": "grass", "areis_pl": "is"},
]


def annotated(class_id: str, worker: int, included: bool = True, **counts: int) -> dict[str, Any]:
    """One worker's answer in CoDa's fields."""
    row: dict[str, Any] = {"class_id": class_id, "worker_id": worker, "included": included}
    return row | (dict.fromkeys(COLOURS, 0) | counts if included else {})


ANNOTATIONS = [
    annotated("/m/1", 0, pink=6, black=2),
    annotated("/m/1", 1, pink=1, white=1, black=2),
    annotated("/m/2", 0, green=9, yellow=1),
    annotated("/m/2", 1, included=False),
    annotated("/m/9", 0, red=1),
]

SAMPLES: dict[str, tuple[dict[str, list[Any]], dict[str, Any]]] = {
    "bits_per_byte": ({"prose.jsonl": [{"text": "A cat sat."}, {"text": "Dogs ran off, far."}]}, {}),
    "minimal_pairs": (
        {"own.jsonl": [{"good": "It rains.", "bad": "It rain."}, {"good": "Hi.", "bad": "Ho, hi."}]},
        {},
    ),
    "multiple_choice": (
        {"own.jsonl": [{"question": "Snow is", "choices": ["cold", "a hot thing", "x"], "label": 0}]},
        {},
    ),
    "blimp": ({"pairs.jsonl": BLIMP}, {}),
    "hellaswag": ({"val.jsonl": HELLASWAG}, {}),
    "arc": ({"easy.jsonl": [*ARC_HUB, ARC_ORIGINAL]}, {}),
    "openbookqa": ({"test.jsonl": OPENBOOKQA}, {}),
    "commonsense_qa": ({"dev.jsonl": COMMONSENSE_QA}, {}),
    "piqa": ({"valid.jsonl": PIQA}, {}),
    "copa": ({"val.jsonl": COPA}, {}),
    "winogrande": ({"dev.jsonl": WINOGRANDE}, {}),
    "sciq": ({"test.jsonl": SCIQ}, {}),
    "boolq": ({"val.jsonl": BOOLQ}, {}),
    "lambada": ({"test.jsonl": LAMBADA}, {}),
    "ewok": ({"core.jsonl": EWOK}, {}),
    "vicomte": ({f"{relation}.jsonl": rows for relation, rows in VICOMTE.items()}, {}),
    "coda": ({"objects.jsonl": OBJECTS, "annotations.jsonl": ANNOTATIONS}, {}),
}
"""Kind to its files and settings."""
