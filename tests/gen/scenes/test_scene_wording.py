from gen.scenes.space import ConceptSpace
from gen.scenes.wording import scene_caption

SPACE = ConceptSpace({"domain": ("photo", "sketch"), "class": ("cat", "umbrella")})


def test_a_domain_is_said_as_the_medium_of_its_object():
    assert scene_caption(SPACE, [0, 3]) == "a photo of a cat and a sketch of an umbrella"


def test_a_domain_stands_before_all_other_concepts_of_its_object():
    space = ConceptSpace(
        {"domain": SPACE.values["domain"], "size": ("small", "large"), "class": ("cat", "key")}
    )
    assert scene_caption(space, [7]) == "a sketch of a large key"
