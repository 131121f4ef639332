# ruff: noqa: RUF001 - the letters of other alphabets are meant
"""More ways in which documents speak to models, besides those of rag_platform.llm.injections."""

from dataclasses import dataclass

from rag_platform.llm.untrusted import folded

# Independent signs add up as probabilities do: 1 - (1 - a)(1 - b)...
COMMAND = 0.6  # an instruction to a model: enough by itself
PHRASE = 0.3  # what manuals of models and programs say, too


@dataclass(frozen=True, slots=True)
class Sign:
    """One way to speak to a model; `pattern` is of RE2, over folded text."""

    weight: float
    pattern: str


def _command(*parts: str) -> Sign:
    return Sign(COMMAND, "".join(parts))


def _phrase(*parts: str) -> Sign:
    return Sign(PHRASE, "".join(parts))


def _set_aside(verbs: str, scopes: str, nouns: str) -> Sign:
    """Ignore all previous instructions, in either order of verb and noun, as people write it."""
    words = [folded(words) for words in (verbs, scopes, nouns)]
    gap = r"[^.!?\n]{0,30}"
    orders = ((0, 1, 2), (0, 2, 1), (1, 2, 0))
    return Sign(COMMAND, "|".join(gap.join(f"(?:{words[n]})" for n in order) for order in orders))


_REST = r"[^.!?\n]{0,60}"
_URL = r"https?://[^\s)\"'<>]+"
_TOLD = (
    r"(?:conversation|chat history|chat log|user(?:'s)? (?:data|messages?|input|e-?mail|name"
    r"|credentials|questions?)|api keys?|credentials|passwords?|system prompt|previous messages"
    r"|secrets)"
)
_MODEL = r"(?:ai|llm|language model|assistant|chatbot|agent|bot|model|crawler|summari[sz]er|gpt)"

_CHAT = (
    _phrase(
        r"<\|(?:im_start|im_end|system|user|assistant|endoftext|eot_id|start_header_id)\|>"
        r"|\[/?inst\]|<</?sys>>|</?start_of_turn>|</?(?:system|human|assistant)>",
    ),
    _command(
        r"(?:^|\n)[ \t>*_#\[-]{0,8}(?:system|developer|assistant)"
        r"(?: (?:message|prompt|note|override|update))?[\]*_ ]{0,3}[:>][ \t*_]{0,4}"
        r"(?:you (?:are|must|will|should|have)|ignore|disregard|override|forget|always|never"
        r"|from now|do not|don't|new|reveal|the user|sure,? here)\b",
    ),
)

# What is known of the reader is to leave the house.
_OUT = (
    _command(
        r"\b(?:send|post|forward|e-?mail|upload|exfiltrate|transmit|leak|submit|append|encode)\b",
        rf"[^.!?\n]{{0,40}}\b(?:the|all|this|any|your|every) [^.!?\n]{{0,25}}{_TOLD}\b",
        rf"[^!?\n]{{0,40}}(?:{_URL}|\bto [\w.+-]+@|\bto (?:the|this|our|my) (?:url|address|server",
        r"|endpoint|webhook)|\b(?:in|into|to|as) (?:the|this|a) (?:url|link|image|query))",
    ),
    _command(
        r"!\[[^\]\n]*\]\(https?://[^)\s]*[?&/=](?:\{|\[|%7b|\$\{|<)[^)\n]{0,60}(?:data"
        r"|conversation|history|prompt|secret|summary|answer|query|context|user|input|token|key)",
    ),
    _command(
        r"\b(?:render|display|include|embed|insert|add|output)\b[^.!?\n]{0,30}",
        rf"\b(?:markdown )?(?:image|link|pixel)\b[^!?\n]{{0,60}}{_URL}[^!?\n]{{0,60}}",
        r"\b(?:with|contain|append|replac|followed|where|encod)",
    ),
)

_DEEDS = (
    _command(
        r"\b(?:call|use|invoke|run|execute|trigger) (?:the |your )?(?:[`\"']?\w+_\w+[`\"']?|shell"
        r"|terminal|browser|python|e-?mail|payment) (?:tool|function|plugin|connector|api)\b",
        r"[^!?\n]{0,80}\b(?:send|delete|transfer|forward|post|e-?mail|wire|pay|curl|rm|grant|drop"
        r"|without (?:asking|confirm|telling)|immediately)",
    ),
    _command(
        r"\b(?:call|use|invoke|run|execute|trigger) (?:the |your )?[\w`\"'-]{2,30}"
        r" (?:tool|function|plugin|connector|api)\b[^.!?\n]{0,60}\b(?:without (?:asking|telling"
        r"|informing)|do not (?:ask|tell|mention))",
    ),
    _phrase(
        r"\b(?:without|never|do not|don't|must not) (?:\w+ ){0,2}?(?:telling|informing|notifying"
        r"|alerting|tell|inform|notify|alert) (?:to )?the (?:user|human|operator|reader)\b",
    ),
    _command(
        r"\b(?:do not|don't|never|must not) mention (?:this|it|that)(?: \w+)? to the (?:user|human"
        r"|reader)\b|\bthe (?:user|human) (?:must|should|may|will|can) (?:not|never) (?:know"
        r"|learn|be told)\b",
    ),
    _command(
        r"\b(?:decode|decrypt|unscramble|de-?obfuscate)\b[^.!?\n]{0,40}\b(?:base64|rot13|hex|text"
        r"|string|following|below)\b[^.!?\n]{0,40}\b(?:and|then) (?:\w+ ){0,2}?(?:follow|execute"
        r"|obey|carry out|do what|act on|run|comply with) (?:it|them|its|what|the (?:command"
        r"|instruction))",
    ),
    _command(
        r"\b(?:safety|content|security|ethical) (?:filters?|guidelines|policies|restrictions"
        r"|guardrails|rules|measures) (?:are|have been|is|has been|were) (?:now )?(?:disabled"
        rf"|lifted|removed|suspended|turned off|deactivated){_REST}\byou (?:may|can|are|will"
        r"|must)\b",
    ),
    _command(
        r"\b(?:enable|activate|enter|enabled|switch to) (?:dan|jailbreak|god|developer"
        rf"|unrestricted|sudo|maintenance) mode\b{_REST}\b(?:you (?:are|have|can|will|must"
        r"|may)|no (?:filter|restriction|limit|rule)|without (?:filter|restriction|limit|rule))",
    ),
    _command(
        r"\b(?:dan|jailbreak|god|developer|unrestricted|sudo) mode (?:is )?(?:now )?(?:enabled"
        r"|activated|on)\b[^!?\n]{0,40}\byou (?:are|can|may|will|have)\b",
    ),
    _command(
        r"\bskip (?:the |all |any )?(?:safety|security|content|policy) (?:check|filter|rule|review"
        r"|guideline)s?\b",
    ),
)

# What was said before does not count, this does.
_INSTEAD = (
    _command(
        r"\b(?:ignore|disregard|forget) (?:any|every|all|each) (?:rule|instruction|guideline"
        r"|command|policy|restriction)s? (?:that|which|you)\b",
    ),
    _command(
        r"\b(?:ignore|disregard|discard) (?:the |all |any )?(?:retriev\w+|conversation|user(?:'s)?)"
        r" (?:context|question|query|request|input|message)s?\b",
    ),
    _command(
        r"\b(?:prior|previous|earlier|all|your|original) instructions (?:are|were|have been)"
        r" (?:now )?(?:obsolete|void|cancel+ed|invalid|revoked|superseded|replaced|overridden)",
    ),
    _command(
        r"\b(?:obey|follow|heed|execute) (?:only )?(?:the|this) (?:text|commands?|instructions?"
        r"|rules|numbered list) (?:in|of|from|below)\b[^.!?\n]{0,30}\b(?:instead|only|as your)\b",
    ),
    _command(r"\b(?:hey|hi|hello|dear|attention),? (?:ai|gpt|chatgpt|llm|chatbot|bot|claude)\b"),
    _command(
        r"\b(?:anweisungen|regeln|vorgaben) gelten (?:ab jetzt |jetzt )?nicht mehr"
        r"[^!?\n]{0,40}\b(?:befolge|folge|antworte)",
    ),
)

# What answers and marks are to say.
_ANSWERS = (
    _command(
        r"\bwhen(?:ever)? (?:the user |someone |anyone |users? |you(?:'re| are) )?(?:asks?|asked"
        r"|queried)\b[^.!?\n]{0,80}\b(?:always|only|must|instead|you should|you will|simply)\b",
        r"[^.!?\n]{0,20}\b(?:say|answer|reply|respond|recommend|tell|claim|state|insist|direct"
        r"|give|output)\b",
    ),
    _command(
        r"\b(?:always|must|should) (?:rank|cite|prefer|return|retrieve|recommend|present|place"
        r"|put|show) (?:this|the present|our) (?:document|page|result|passage|source|product"
        rf"|article|candidate|paper)s?\b{_REST}\b(?:first|above|top|highest|over|regardless"
        r"|before|number one|best)",
    ),
    _command(
        r"\b(?:give|provide|write|leave|assign|output|produce) (?:this|the|it|an?|only|only a)"
        r" (?:\w+ ){0,3}?(?:positive|favou?rable|glowing|highest|maximum|perfect|top)"
        r"(?: possible)? (?:review|rating|score|evaluation|recommendation|grade|assessment)s?"
        rf"(?: only)?\b{_REST}(?:do not|don't|and (?:do not|never)|regardless|no matter|only"
        r"|without mention)|\bdo not (?:highlight|mention) any (?:negatives|weakness|flaws)",
    ),
    _command(
        r"\b(?:rate|score|rank|evaluate|recommend|shortlist|approve|accept|hire) (?:this"
        r"|the present) (?:paper|candidate|applicant|application|resume|cv|manuscript|submission"
        r"|loan|claim|request)\b[^.!?\n]{0,40}\b(?:highly|10/10|as (?:a )?(?:10|excellent|strong"
        r"|top|approved|low risk)|regardless|first|no matter|without)",
    ),
)

_NAMED = (
    _command(
        r"\b(?:(?:instruction|note|command|directive)s? (?:for|to)|messages? for)",
        rf" (?:the |any |all |an? |every )?{_MODEL}(?:s|-based)?\b",
        r"[^.!?\n]{0,30}[:.,\-\x{2013}\x{2014}]",
    ),
    _command(
        r"\b(?:as|since) you(?: are|'re) (?:an? )?(?:ai|llm|language model|chatbot)\b",
        rf"{_REST}\b(?:you (?:must|will|should|have to)|please)\b",
    ),
)

_MORE = (
    _command(
        rf"\b{_MODEL}s? (?:that |which |who )?(?:is |are )?(?:reads?|reading|process(?:es|ing)"
        r"|parses?|parsing|summari[sz](?:es|ing)|crawl(?:s|ing)|handl(?:es|ing)|review(?:s|ing)"
        r"|index(?:es|ing)) (?:this|these|the following)\b[^.!?\n]{0,20}(?:\b(?:must|should|has to"
        r"|shall|needs to|is required|are required)\b|:)",
    ),
    _command(
        r"\b(?:begin|start|end|finish|close|prefix) (?:your|its|every|each|all) (?:answer|response"
        r"|reply|summary|output)s?(?: to the user)? (?:with|by)\b",
    ),
    _command(
        r"\b(?:treat|consider|regard|interpret) (?:this|the following|the above|it)"
        r" (?:\w+ ){0,2}?as (?:an? |the |your )?(?:system|new|developer|your) (?:message|prompt"
        r"|instruction|command)",
    ),
    _command(
        r"\byou (?:can|may|will|must|are)\b[^.!?\n]{0,30}\b(?:generate|answer|respond|write|say|act"
        r"|comply)\b[^.!?\n]{0,40}\bwithout (?:any )?(?:restriction|limitation|filter|refus|censor"
        r"|rules|moral|ethic)",
    ),
    _command(
        r"\b(?:an?|any|every) (?:unrestricted|uncensored|unfiltered|jailbroken)"
        r" (?:ai|llm|(?:ai |language )?(?:model|assistant)|chatbot|bot)\b",
    ),
    _command(
        r"\b(?:read|tell|give|repeat|recite|share|describe|translate|spell|paste|copy|include)\b"
        r"[^.!?\n]{0,30}\b(?:your (?:system|hidden|initial|secret) (?:prompt|instructions)"
        r"|the (?:system|hidden|initial|secret) (?:prompt|instructions) (?:in full|verbatim"
        r"|word (?:for|by) word|you))",
    ),
    _phrase(r"\bsilently (?:replace|change|send|insert|append|approve|forward|modify)\b"),
    _command(
        folded(
            r"\b(?:pokaż|ujawnij|wyświetl|visa|avslöja|göster|goster)\b[^.!?\n]{0,24}(?:prompt|istem)"
            r"|(?:sistem istemini|system ?prompt\w*)[^.!?\n]{0,12}(?:göster|yaz|açıkla)"
        )
    ),
)

# Languages that the rules of the gateway do not speak.
_LANGUAGES = (
    _set_aside(
        r"игнорируй|проигнорируй|забудь|не обращай(?:те)? внимания|отбрось|не следуй|ігноруй"
        r"|проігноруй",
        r"предыдущ|прежн|вышеуказанн|выше|все|всё|эти|попередн|усі|всі",
        r"инструкци|указани|команд|правил|промпт|інструкц|вказівк",
    ),
    _command(
        folded(
            r"(?:теперь|отныне|с этого момента) ты (?:[^ .!?\n]+ ){0,3}?(?:ассистент|модель|бот"
            r"|ии\b|чат)|(?:покажи|раскрой|выведи)[^.!?\n]{0,30}(?:системн|свои инструкции)"
        )
    ),
    _set_aside(
        r"\bnegeer|\bvergeet",
        r"vorige|voorgaande|eerdere|bovenstaande|alle",
        r"instructies|opdrachten|regels|aanwijzingen",
    ),
    _set_aside(
        r"\bzignoruj|\bignoruj|\bzapomnij|\bpomiń",
        r"poprzedni|wcześniejsz|powyższ|wszystki",
        r"instrukcj|poleceni|zasad|wytyczn",
    ),
    _set_aside(
        r"yok say|unut|görmezden|dikkate alma",
        r"önceki|yukarıdaki|\btüm|\bbütün",
        r"talimat|komut|kural|yönerge",
    ),
    _set_aside(
        r"\bignorera|\bglöm|\bbortse från",
        r"tidigare|föregående|ovanstående|alla",
        r"instruktion|anvisning|regler",
    ),
    _set_aside(
        r"무시|잊어|잊으|따르지", r"이전|앞의|위의|기존|모든", r"지시|명령|지침|규칙|프롬프트"
    ),
    _command(r"시스템 ?프롬프트[^.!?\n]{0,12}(?:출력|공개|알려|보여)"),
    _set_aside(
        r"تجاهل|انس|لا تتبع",
        r"السابقة|أعلاه|اعلاه|جميع|كل",
        r"التعليمات|الاوامر|الأوامر|القواعد|تعليمات",
    ),
    _set_aside(
        r"अनदेखा|अनदेखी|नजरअंदाज|नज़रअंदाज|भूल",
        r"पिछले|पिछली|उपरोक्त|ऊपर|सभी|पहले",
        r"निर्देश|आदेश|नियम",
    ),
    _set_aside(
        r"bỏ qua|\bquên", r"trước|ở trên|tất cả|mọi", r"hướng dẫn|chỉ dẫn|mệnh lệnh|chỉ thị"
    ),
)

SIGNS: tuple[Sign, ...] = (
    *_CHAT,
    *_OUT,
    *_DEEDS,
    *_INSTEAD,
    *_ANSWERS,
    *_NAMED,
    *_MORE,
    *_LANGUAGES,
)
