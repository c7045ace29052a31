"""The properties of each verb that 0.9.8 knows; it refuses verbs with others (PROTOCOL.md 11, pitfall 21). Pure.

They are those of schema 0.4.15 without the newer ones, and what only 0.9.x has (``lex``, ``rasa``, ``listen.auth``).
"""

from typing import Final

KNOWN_PROPERTIES: Final[dict[str, frozenset[str]]] = {
    verb: frozenset((names + " id verb").split())
    for verb, names in {
        "alert": "message",
        "answer": "",
        "conference": (
            "actionHook beep distributeDtmf endConferenceDuration endConferenceOnExit enterHook joinMuted "
            "listen maxParticipants memberTag name record speakOnlyTo startConferenceOnEnter statusEvents "
            "statusHook waitHook"
        ),
        "config": (
            "actionHookDelayAction amd autoStreamTts bargeIn boostAudioSignal disableTtsCache earlyMedia "
            "fillerNoise listen noiseIsolation notifyEvents notifySttLatency onHoldMusic recognizer record "
            "referHook reset sipRequestWithinDialogHook stream synthesizer trackTtsPlayout transcribe "
            "ttsStream turnTaking vad"
        ),
        "dequeue": "actionHook beep callSid name timeout",
        "dial": (
            "actionHook amd anchorMedia answerOnBridge boostAudioSignal callerId callerName confirmHook "
            "dialMusic dtmfCapture dtmfHook dub exitMediaPath forwardPAI headers listen onHoldHook proxy "
            "referHook srtpEncryption stream tag target timeLimit timeout transcribe"
        ),
        "dialogflow": (
            "actionHook agent bargein credentials environment eventHook events lang model noInputEvent "
            "noInputTimeout passDtmfAsTextInput project queryInput region thinkingMusic tts welcomeEvent "
            "welcomeEventParams"
        ),
        "dtmf": "dtmf duration",
        "dub": "action gain loop play say track",
        "enqueue": "actionHook name priority waitHook",
        "gather": (
            "actionHook actionHookDelayAction bargein dtmfBargein fillerNoise finishOnKey input "
            "interDigitTimeout listenDuringPrompt maxDigits minBargeinWordCount minDigits numDigits "
            "partialResultHook play recognizer say speechTimeout timeout"
        ),
        "hangup": "headers",
        "leave": "",
        "lex": (
            "actionHook bargein botAlias botId credentials eventHook intent locale metadata noInputTimeout "
            "passDtmf region tts welcomeMessage"
        ),
        "listen": (
            "actionHook auth bidirectionalAudio channel disableBidirectionalAudio earlyMedia finishOnKey "
            "maxLength metadata mixType passDtmf playBeep sampleRate timeout transcribe url wsAuth"
        ),
        "llm": "actionHook auth connectOptions eventHook events llmOptions mcpServers model toolHook vendor",
        "message": "account_sid actionHook carrier from media message_sid text to",
        "pause": "length",
        "play": "actionHook earlyMedia loop seekOffset timeoutSecs url",
        "rasa": "actionHook eventHook prompt recognizer tts url",
        "redirect": "actionHook statusHook",
        "say": "closeStreamOnEmpty disableTtsCache earlyMedia instructions loop stream synthesizer text",
        "sip:decline": "headers reason status",
        "sip:refer": "actionHook eventHook headers referTo referredBy referredByDisplayName",
        "sip:request": "actionHook body headers method",
        "tag": "data",
        "transcribe": "channel earlyMedia recognizer transcriptionHook translationHook",
    }.items()
}
