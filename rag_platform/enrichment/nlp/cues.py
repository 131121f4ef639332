"""The English words and phrases by which a text says that a name is a person's or a company's."""

import re

from rag_platform.enrichment.nlp.words import STOP_WORDS, word_set

# What a surname alone may follow.
HONORIFICS = word_set(
    """
    mr mrs ms miss messrs dr prof professor sir lady lord dame president chairman chairwoman premier
    minister chancellor senator sen representative rep congressman congresswoman governor gov mayor
    judge justice king queen prince princess pope bishop archbishop cardinal general gen colonel col
    captain capt lieutenant lt sergeant sgt admiral commander secretary ambassador coach
    attorney detective inspector reverend rev father sister brother baron baroness sheikh ayatollah
    """
)
_ROLES = HONORIFICS | word_set(
    """
    director manager executive ceo cfo cto chief founder owner boss spokesman spokeswoman officer
    spokesperson analyst economist strategist trader lawyer author writer editor reporter journalist
    correspondent actor actress singer musician artist producer striker midfielder defender
    goalkeeper player champion scientist researcher engineer student leader candidate head partner
    consultant veteran quarterback pitcher driver golfer star wife husband son daughter colleague
    teammate historian philosopher composer poet painter
    """
)

# Words that lead a name and tell that it is a person's, without being part of it.
TITLES = _ROLES | word_set(
    """
    former acting vice deputy senior prime foreign finance defence defense interior state press
    operating information administrative accounting financial managing marketing technology
    """
)

# Last words of an organization's name.
LEGAL_FORMS = word_set(
    """
    inc incorporated corp corporation ltd limited llc llp plc company co gmbh ag nv sa spa srl ab oy
    asa bv group holdings holding
    """
)
KINDS = LEGAL_FORMS | word_set(
    """
    bank university college school institute academy ministry department agency administration
    association federation foundation committee commission council court authority bureau board
    party union league club society hospital museum airlines airways motors technologies systems
    laboratories labs software pharmaceuticals industries enterprises partners capital securities
    insurance trust fund funds press times post news journal gazette network networks
    communications studios records television radio orchestra church organization organisation
    alliance coalition consortium parliament senate congress assembly exchange reserve treasury
    electric electronics energy petroleum oil gas steel pharma healthcare financial bancorp brewery
    brothers stores bancshares nations police army navy corps guard service services office
    observatory initiative institution fc
    """
)
# First words of an organization's name before "of" or "for".
KINDS_OF = word_set(
    """
    bank university ministry department institute bureau office college school academy faculty
    court council board commission committee federation association society league house church
    chamber union museum confederation
    """
)

NOT_NAMES = STOP_WORDS | word_set(
    """
    american british french german english european chinese russian japanese indian italian spanish
    dutch swedish asian african internet web mr mrs ms dr directors operations stock trading total
    net
    """
)

_ROLE = "|".join(sorted(_ROLES))
_SPEECH = (
    "said|says|told|tells|added|adds|announced|asked|explained|insisted|warned|argued|admitted|"
    "claimed|noted|stated|wrote|writes|replied|commented"
)

# The end of what stands before a name, and the start of what stands after it.
ROLE_BEFORE = re.compile(rf"\b(?:{_ROLE}) $", re.IGNORECASE)
PLACE_BEFORE = re.compile(r"\b(?:in|at|near|from|to|into|across|around|on|the) $", re.IGNORECASE)
SPEECH_BEFORE = re.compile(rf"\b(?:{_SPEECH}) $")
SPEECH_AFTER = re.compile(rf",? (?:has |had |also )?(?:{_SPEECH})\b")
HUMAN_AFTER = re.compile(
    r",? (?:who|whose)\b| (?:was |were |is )?(?:born|married|died|lives|lived|retired|resigned|"
    r"graduated|studied|scored|himself|herself)\b| and (?:his|her) "
    r"| \((?:born |b\. )?\d{4}|, \d\d\b"
    rf"|, (?:(?:the|a|an|its|his|her|their|our) )?(?:[\w-]+ ){{0,3}}(?:{_ROLE})\b"
)
WORKS_FOR_BEFORE = re.compile(
    rf"\b(?:{_ROLE})(?: \w+)? (?:at|of|for|with)(?: the)? $|"
    r"\b(?:shares|stock|shareholders|unit|subsidiary|division|maker|customers|clients|analysts|"
    r"economists|strategists|employees|executives|researchers) (?:of|in|at)(?: the)? $|"
    r"\b(?:company|firm|giant|maker|retailer|bank|insurer|carrier|airline|parent|rival|supplier|"
    r"lender|brokerage|publisher|developer|startup|vendor) $"
)
COMPANY_AFTER = re.compile(
    r"(?:['\u2019]s?)? (?:shares?|stock|executives?|shareholders|employees|spokes\w+|earnings|"
    r"profits?|revenues?|chief|chairman|headquarters|subsidiary|customers|board|unit|plc|analysts?|"
    r"products|researchers|scientists)\b| <[A-Z]+\.[A-Z]+>| \((?:NYSE|NASDAQ|Nasdaq|LSE)\b|"
    r", a unit of\b|,? (?:acquired|agreed to (?:buy|sell|acquire)|reported (?:a|its|net|strong|"
    r"higher|lower)|plans to (?:buy|sell|launch|cut)|launched|unveiled)\b"
)
