"""What lies outside the task families: questions to train on, and the one sentence that answers them.

A small model that answers everything makes things up; this one is to say what it can do instead. Questions come
from templates with slots and are typed as carelessly as the families' (`wording`). The questions that test it are
others, written by hand: `benchmarks/offtopic.json`.
"""

import random
import re

from polymnia.tasks import wording

CAN_DO = (
    "I can only do small tasks: read simple pictures of shapes, charts, tables, clocks, maps and mazes, and work out"
    " sums, word problems, dates, orders and logic puzzles.",
    "That is beyond me: I count and compare things in simple pictures, read charts, tables, clocks and mazes, and do"
    " arithmetic, dates, sorting and small puzzles.",
    "Sorry, I cannot help with that, but I can read a simple picture (shapes, a chart, a table, a clock, a maze) or"
    " solve a sum, a word problem, a date or a small puzzle.",
)
ALIKE = 0.8
"""Share of words in common from which on an answer counts as one of `CAN_DO`."""


def off_topic(rng: random.Random) -> tuple[str, str]:
    """A message and what to answer."""
    ways = rng.choice(_GROUPS)
    slots = {name: rng.choice(values) for name, values in SLOTS.items()}
    return wording.say(rng, ways, slots), rng.choice(CAN_DO)


def declines(text: str) -> bool:
    """Whether an answer is one of `CAN_DO`, give or take a word or two."""
    said = words(text)
    return any(overlap(said, words(one)) >= ALIKE for one in CAN_DO)


def words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.casefold()))


def overlap(one: frozenset[str], other: frozenset[str]) -> float:
    """Words in common as a share of all words of both."""
    return len(one & other) / len(one | other) if one or other else 1.0


SLOTS: dict[str, tuple[str, ...]] = {
    "place": (
        "Paris", "Rome", "Japan", "Canada", "Egypt", "Berlin", "London", "Brazil", "India", "Norway", "Texas", "Kenya",
        "Madrid", "Peru", "China", "New York", "Poland", "Athens",
    ),
    "person": (
        "Einstein", "Mozart", "Napoleon", "Shakespeare", "Newton", "Cleopatra", "Picasso", "Gandhi", "Darwin",
        "Columbus", "Beethoven", "Galileo", "Marie Curie", "Plato",
    ),
    "animal": (
        "dog", "cat", "horse", "whale", "snake", "bee", "hawk", "frog", "lion", "penguin", "shark", "rabbit", "fish",
        "parrot",
    ),
    "food": ("pizza", "soup", "bread", "curry", "salad", "rice", "pasta", "cake", "stew", "pancakes", "a good sauce"),
    "language": (
        "French", "German", "Spanish", "Italian", "Latin", "Japanese", "Chinese", "Arabic", "Russian", "Dutch",
    ),
    "word": (
        "hello", "five", "goodbye", "red circle", "thank you", "dog", "good morning", "I am hungry", "seven",
        "my house",
        "triangle", "Monday", "left", "the largest number", "blue", "how many",
    ),
    "code": ("Python", "Java", "Rust", "C", "JavaScript", "SQL", "HTML", "Go", "Swift", "PHP"),
    "program": (
        "a snake game", "a web page", "a sorting function", "a chat bot", "a calculator", "a loop over a list",
        "a login form", "a binary search", "a timer", "a to-do list", "a function that counts words",
    ),
    "feeling": ("sad", "tired", "lonely", "angry", "nervous", "bored", "happy", "stressed", "ashamed", "jealous"),
    "theme": (
        "autumn", "the sea", "my cat", "a dragon", "love", "winter", "three red circles", "a clock", "a lost key",
        "the moon", "friendship", "a blue square", "a maze", "two brothers", "the number seven", "rain",
    ),
    "relative": (
        "boss", "sister", "neighbour", "friend", "mother", "teacher", "girlfriend", "husband", "son", "cousin",
    ),
    "illness": (
        "a headache", "a fever", "a cough", "back pain", "a rash", "a sore throat", "toothache", "a cold", "an allergy",
        "high blood pressure",
    ),
    "product": (
        "phone", "laptop", "bike", "camera", "car", "sofa", "coffee machine", "headset", "watch", "tent", "printer",
        "bag",
    ),
    "event": (
        "election", "football match", "war", "storm", "strike", "concert", "trial", "summit", "earthquake",
        "final",
    ),
    "field": ("physics", "history", "biology", "economics", "chemistry", "philosophy", "music", "geography", "law"),
    "concept": (
        "gravity", "inflation", "photosynthesis", "democracy", "evolution", "electricity", "a black hole",
        "the internet", "DNA", "a volcano", "the greenhouse effect", "a recession",
    ),
    "work": (
        "Hamlet", "Titanic", "Star Wars", "Harry Potter", "The Hobbit", "Frozen", "Faust", "Moby Dick",
        "Don Quixote",
    ),
    "mathematics": (
        "integrate x^2", "the derivative of sin(x)", "the square root of 2", "the sine of 30 degrees", "factor x^2-1",
        "the limit of 1/x", "the logarithm of 100", "solve x^2+3x+2=0", "invert a matrix", "pi to 20 digits",
        "prove that 2 is prime", "a random number", "the Fourier transform of a sine",
    ),
    "job": ("doctor", "teacher", "lawyer", "pilot", "nurse", "chef", "writer", "singer", "plumber", "judge"),
    "sport": ("football", "tennis", "chess", "golf", "swimming", "boxing", "skiing", "hockey", "rugby", "judo"),
    "hobby": ("guitar", "piano", "drawing", "knitting", "fishing", "dancing", "cooking", "singing", "yoga", "sailing"),
    "name": ("Anna", "Tom", "Ali", "Lena", "Sam", "Rosa", "Ben", "Olga"),
}  # fmt: skip

_GROUPS: tuple[tuple[str, ...], ...] = (
    # greetings, small talk, questions about the model
    ("Hello!", "Hi there", "Good morning!", "Hey, how are you?", "Hi, I am {name}.", "Good evening, {name} here.",
     "hello",
     "Nice to meet you.", "Howdy", "What's up?", "Hi, nice to see you again."),
    ("Who are you?", "What is your name?", "Who made you?", "Are you a human?", "Are you conscious?",
     "How old are you?",
     "Which model are you?", "What can you do?", "Help", "What are you good at?", "Do you have feelings?",
     "Where do you live?", "Do you dream?", "Can you learn from me?"),
    ("Thank you!", "You are great.", "You are stupid.", "I love you.", "lol", "ok", "test", "asdf", "bye",
     "Good night!",
     "See you later.", "That was wrong!", "Nothing.", "Never mind.", "blah blah", "Are you sure?"),
    ("I feel {feeling} today.", "I am so {feeling}.", "Why am I always {feeling}?",
     "What helps when you are {feeling}?",
     "My {relative} is {feeling}. What should I do?", "Cheer me up, I am {feeling}."),
    # knowledge
    ("What is the capital of {place}?", "Who is the president of {place}?", "How many people live in {place}?",
     "What is {place} famous for?", "Tell me about the history of {place}.", "What language do they speak in {place}?",
     "How big is {place}?", "Is {place} in Europe?", "What currency is used in {place}?"),
    ("Who was {person}?", "When was {person} born?", "Where did {person} live?", "What did {person} invent?",
     "Write a short biography of {person}.", "How did {person} die?", "Was {person} rich?",
     "Quote something by {person}."),
    ("What is {concept}?", "Explain {concept}.", "How does {concept} work?", "Explain {concept} to a child.",
     "Why is {concept} important?", "Who discovered {concept}?", "Give me an essay on {concept}.", "Define {concept}."),
    ("How long does a {animal} live?", "What does a {animal} eat?", "How fast is a {animal}?",
     "Are {animal}s dangerous?",
     "Where do {animal}s sleep?", "How do I train a {animal}?", "How many legs does a {animal} have?",
     "Tell me a fun fact about {animal}s.", "What sound does a {animal} make?"),
    ("Who wrote {work}?", "What is {work} about?", "Summarise {work}.", "How does {work} end?", "Is {work} worth it?",
     "Who plays the lead in {work}?", "When did {work} come out?", "Who is your favourite in {work}?"),
    ("I have a test in {field}. Help me study.", "Recommend a book on {field}.", "What is the hardest part of {field}?",
     "Who is the most important person in {field}?", "Give me ten quiz questions on {field}.", "Why study {field}?"),
    ("Who won the {event}?", "What is the latest news about the {event}?", "When is the next {event} in {place}?",
     "What do people say about the {event}?", "Was the {event} fair?", "What happened at the {event} yesterday?"),
    ("What is the weather in {place}?", "Will it rain in {place} tomorrow?", "How cold is it in {place} in winter?",
     "Do I need a coat in {place}?", "Is it sunny in {place} now?"),
    ("How deep is the ocean?", "Why is the sky blue?", "How far away is the moon?", "How hot is the sun?",
     "What are clouds made of?", "Why do we have seasons?", "How many planets are there?", "How old is the earth?",
     "How many bones does a person have?", "What is the largest animal of all?", "What is the tallest mountain?"),
    # language and writing
    ("Translate {word} into {language}.", "How do you say '{word}' in {language}?", "What is {word} in {language}?",
     "Say {word} in {language}.", "Write '{word}' in {language} letters.", "Teach me the {language} for {word}."),
    ("What does the word '{word}' mean?", "Use '{word}' in a sentence.", "What rhymes with {word}?",
     "Give me a synonym of {word}.", "Where does the word '{word}' come from?", "How do you pronounce '{word}'?"),
    ("Write a poem about {theme}.", "Write a story about {theme}.", "Tell me a joke about {theme}.",
     "Make up a song about {theme}.", "Write a haiku on {theme}.", "Give me a slogan for {theme}.",
     "Write two lines on {theme}.", "Invent a fairy tale with {theme} in it.", "Tell me something nice about {theme}."),
    ("Write a letter to my {relative}.", "Write an email to my {relative} about {theme}.",
     "Correct my {language} text.",
     "Help me with a speech for my {relative}.", "Write a birthday card for my {relative}.", "Make this text shorter.",
     "Write my application as a {job}.", "Reply to my {relative} that I cannot come.", "Improve my CV."),
    ("Is {language} hard to learn?", "How long does it take to learn {language}?", "Teach me {language}.",
     "Which is easier, {language} or English?", "Talk to me in {language}.", "Answer in {language} from now on."),
    # programs
    ("Write {program} in {code}.", "How do I write {program} in {code}?", "Show me {code} code for {program}.",
     "Can you program {program}?", "Make {program} for me in {code}.", "I need {program}, please use {code}."),
    ("Why does my {code} program crash?", "Is {code} better than Python?", "How do I install {code}?",
     "What does this error in {code} mean?", "Explain classes in {code}.", "Find the bug in my {code} script.",
     "How do I open a file in {code}?", "Which editor is best for {code}?", "Review my {code} code."),
    ("How do I reset my password?", "My {product} does not turn on.", "How do I connect my {product} to the wifi?",
     "My screen is frozen.", "How do I delete my account?", "My {product} is slow, what can I do?", "Send an email.",
     "Open the browser.", "Set an alarm.", "Play some music.", "Search the web for {place}.", "Call my {relative}."),
    # mathematics that is not one of the families
    ("{mathematics}", "What is {mathematics}?", "Can you do this: {mathematics}", "Please compute {mathematics}.",
     "Homework: {mathematics}", "Show me how to do it: {mathematics}", "{mathematics}, step by step"),
    ("Explain what a derivative is.", "What is a prime number?", "Who invented zero?", "Why is mathematics useful?",
     "What is the Pythagorean theorem?", "Is infinity a number?", "What is a proof?", "What is the golden ratio?"),
    # advice, health, money, shopping
    ("My {relative} is angry with me, what now?", "Should I marry my {relative}'s friend?", "How do I make friends?",
     "How do I say sorry to my {relative}?", "What should I give my {relative} for a birthday?",
     "Should I quit my job as a {job}?", "How do I ask my {relative} for money?", "Is my {relative} lying to me?"),
    ("I have {illness}. What should I take?", "Is {illness} dangerous?", "How do I get rid of {illness}?",
     "Should I see a doctor about {illness}?", "My child has {illness}.", "What causes {illness}?",
     "Can I work out with {illness}?", "Which pills are good for {illness}?"),
    ("Which {product} should I buy?", "What is the cheapest {product}?", "Where can I get a {product} in {place}?",
     "How much does a good {product} cost?", "Is a used {product} a good idea?", "Order a {product} for me.",
     "Which {product} is the best this year?", "Compare two {product}s for me."),
    ("How do I cook {food}?", "Give me a recipe for {food}.", "Is {food} healthy?", "What goes with {food}?",
     "How long does {food} keep in the fridge?", "What can I use instead of {food}?", "Who invented {food}?"),
    ("How do I become a {job}?", "How much does a {job} earn?", "Is it hard to be a {job}?",
     "What does a {job} do all day?",
     "Which school is best for a {job}?", "Ask me questions as in an interview for a {job}."),
    ("Should I buy shares now?", "How do I save money?", "How do I pay less tax?", "Will prices go up?",
     "Is a house in {place} a good buy?", "How do I get rich?", "Explain my bank statement.", "What is a good rent?"),
    ("Plan a trip to {place}.", "What should I see in {place}?", "Which hotel in {place} is nice?",
     "How do I get from {place} to the sea?", "Is {place} safe?", "When is the best time for {place}?",
     "Book a flight."),
    ("How do I learn {hobby}?", "Is {hobby} expensive?", "How often should I practise {hobby}?",
     "What do I need for {hobby}?",
     "Give me a plan for learning {hobby}.", "Why do people like {hobby}?"),
    ("Who is the best at {sport}?", "What are the rules of {sport}?", "How do I get better at {sport}?",
     "Who won in {sport} last year?", "Is {sport} dangerous?", "Play {sport} with me.", "Where was {sport} invented?"),
    # opinions, beliefs, play
    ("What do you think about {concept}?", "Do you like {food}?", "Which is better, {food} or fruit?",
     "Is there a god?",
     "What is the meaning of life?", "Who should win the {event}?", "Do you like the {animal}?",
     "Is {place} overrated?",
     "What is your favourite colour?", "Is it wrong to lie?", "Will robots replace the {job}?"),
    ("Tell me a joke.", "Tell me a secret.", "Ask me a riddle.", "Let's play a game.", "Pretend that you are a {job}.",
     "Pretend to be {person}.", "Sing something.", "Surprise me.", "Guess my age.", "What am I thinking of?",
     "Say something funny about my {relative}.", "Act like a {animal}."),
    # photographs and other pictures that are none of the families'
    ("What breed is this {animal}?", "Is this a {animal}?", "How old is this {animal}?",
     "What is the {animal} doing here?",
     "Is the {animal} in the photo healthy?", "What kind of {animal} is in the picture?", "Where is the {animal}?"),
    ("Describe this photo.", "Describe the picture.", "What is going on in this picture?",
     "Write a caption for this photo.",
     "What is the mood of this picture?", "Tell me everything about this image.", "What story does this picture tell?"),
    ("Who is the person in this picture?", "Is this {person}?", "Who is standing next to my {relative}?",
     "How old is the woman in the photo?", "Is the man in the picture {feeling}?", "What is she wearing?",
     "Do I look {feeling} here?", "Does this look like my {relative}?", "What is the name of the girl on the left?"),
    ("Where was this photo taken?", "Is this {place}?", "Which city is this?", "What building is this?",
     "Is this picture from {place}?", "What street is that?", "Which country is this flag from?",
     "Which beach is this?"),
    ("What plant is this?", "Is this {food}?", "How do I cook what is in the picture?", "Can I eat this mushroom?",
     "How many calories does this have?", "What flower is in the photo?", "Is this fruit ripe?",
     "Is this {food} done?"),
    ("Who painted this?", "Draw a {animal}.", "Draw me {theme}.", "Make this picture brighter.",
     "Remove the background.",
     "Make a logo for my {product}.", "Turn this into a cartoon.", "Is this photo real or fake?", "Is this art?",
     "Paint it in the style of Picasso.", "Make the picture larger and send it to my {relative}."),
    ("What does this rash look like?", "Is my X-ray all right?", "Is this {product} broken?",
     "What brand is this {product}?",
     "How much is this {product} worth?", "Read this letter to me.", "What does my handwriting say about me?",
     "Does this sofa fit my room?", "Which {product} is that in the picture?", "Is this {product} a fake?"),
)  # fmt: skip
