"""All that the phone page says, in English and Portuguese side by side, and the file of it that the page reads.

What it says as `limiar page` does is taken from there.
"""

import msgspec

from limiar.edge_app.page.words import codes, common, results

FILE = "words.json"  # {"words": {key: [English, Portuguese]}, "codes": {"E-IMAGE-BROKEN": [English, Portuguese]}}
_CODES = ("E-BUNDLE-", "E-IMAGE-", "E-MODEL-", "E-PHONE-", "E-RUNTIME-", "E-SOURCE-", "E-STORE-")  # that a phone can meet

_TAKEN = (
    *("skip", "nav", "language", "language.en", "language.pt", "use", "use.always", "use.bundle", "details", "confidence"),
    *("decision.refer", "decision.refer.long", "decision.refused"),
    *("results.older", "results.export", "results.export.jsonl", "results.frame", "results.outside", "result.title"),
    *("result.back", "result.picture", "result.picture.refused", "result.map", "result.map.alt", "result.map.help"),
    *("result.answer", "result.model-says", "result.refused", "result.outside", "result.probabilities", "result.about"),
    *("result.source", "result.file", "result.sha256", "result.time", "result.frame", "result.agreeing", "result.spread"),
    *("result.ran", "result.bundle", "result.model-file", "result.runtime", "result.app", "result.verified"),
    "result.verified.device",
)

_OWN: dict[str, tuple[str, str]] = {
    "nav.answers": ("Answers", "Respostas"),
    "nav.camera": ("Camera", "Câmera"),
    "nav.model": ("Model", "Modelo"),
    "nav.settings": ("Settings", "Ajustes"),
    "theme": ("Colours", "Cores"),
    "theme.system": ("As the system", "Como o sistema"),
    "theme.light": ("Light", "Claras"),
    "theme.dark": ("Dark", "Escuras"),
    "footer": (
        "Images and answers stay on this device. Nothing is sent, and nothing is loaded from elsewhere.",
        "As imagens e as respostas ficam neste aparelho. Nada é enviado nem carregado de outro lugar.",
    ),
    "start.checking": ("Checking the model…", "Verificando o modelo…"),
    "start.checking.help": (
        "Every file by its hash, then the golden images through decoder, resize and model.",
        "Cada arquivo pelo seu hash; depois, as imagens de referência por decodificador, redimensionamento e modelo.",
    ),
    "start.ready.short": (
        "{n} golden images give the desktop's answers on this phone.",
        "{n} imagens de referência dão neste celular as respostas do desktop.",
    ),
    "start.how": ("How that was checked", "Como isso foi verificado"),
    "start.refused": ("This page does not answer", "Esta página não responde"),
    "start.refused.help": (
        "A check failed, so no image is answered. Answers that were kept earlier are still here.",
        "Uma verificação falhou, portanto nenhuma imagem é respondida. As respostas já guardadas continuam aqui.",
    ),
    "start.again": ("Check again", "Verificar de novo"),
    "update.ready": ("A new version is ready.", "Há uma nova versão pronta."),
    "update.take": ("Use it now", "Usar agora"),
    "choose.images": ("Choose images", "Escolher imagens"),
    "choose.folder": ("Folder", "Pasta"),
    "answers.title": ("Answers", "Respostas"),
    "answers.empty": ("No image has been answered yet.", "Nenhuma imagem foi respondida ainda."),
    "answers.empty.hint": (
        "Choose images or use the camera. It also works without a network.",
        "Escolha imagens ou use a câmera. Também funciona sem rede.",
    ),
    "answers.lost": (
        "This browser keeps nothing for this page: answers are gone once it is closed. Export them before that.",
        "Este navegador não guarda nada para esta página: as respostas se perdem ao fechá-la. Exporte-as antes.",
    ),
    "export.csv.files": ("Spreadsheet of the images (CSV)", "Planilha das imagens (CSV)"),
    "export.csv.frames": ("Spreadsheet of the camera (CSV)", "Planilha da câmera (CSV)"),
    "export.share": ("Share", "Compartilhar"),
    "export.download": ("Download", "Baixar"),
    "export.done": ("{name} was written.", "{name} foi gravado."),
    "export.failed": ("The file could not be handed over.", "O arquivo não pôde ser entregue."),
    "work.going": ("{done} of {total} answered", "{done} de {total} respondidas"),
    "work.now": ("Now: {name}", "Agora: {name}"),
    "work.stop": ("Stop", "Parar"),
    "work.done.one": ("{n} image answered", "{n} imagem respondida"),
    "work.done.other": ("{n} images answered", "{n} imagens respondidas"),
    "work.stopped": (
        "Stopped: {n} of {total} are answered and kept.",
        "Interrompido: {n} de {total} estão respondidas e guardadas.",
    ),
    "work.refused.one": ("{n} refused", "{n} recusada"),
    "work.refused.other": ("{n} refused", "{n} recusadas"),
    "work.known.one": ("{n} was answered before", "{n} já tinha resposta"),
    "work.known.other": ("{n} were answered before", "{n} já tinham resposta"),
    "work.skipped.one": ("{n} file is not an image and was left out", "{n} arquivo não é imagem e foi ignorado"),
    "work.skipped.other": ("{n} files are not images and were left out", "{n} arquivos não são imagens e foram ignorados"),
    "work.nothing": ("There is no image among these files.", "Não há nenhuma imagem entre esses arquivos."),
    "work.busy": (
        "These files were not taken: wait until the others are answered, or stop them.",
        "Estes arquivos não foram aceitos: espere até que os outros tenham resposta, ou interrompa-os.",
    ),
    "work.dismiss": ("Close", "Fechar"),
    "result.gone": ("There is no such answer any more.", "Esta resposta não existe mais."),
    "result.picture.again": (
        "Only a small copy is kept. Choose the file again to see all of it{more}.",
        "Só uma cópia pequena é guardada. Escolha o arquivo de novo para vê-lo inteiro{more}.",
    ),
    "result.picture.map-too": (", and the map", ", e o mapa"),
    "result.picture.none": ("No picture is kept of this answer.", "Nenhuma imagem desta resposta foi guardada."),
    "result.map.wait": ("Drawing the map…", "Desenhando o mapa…"),
    "result.line": ("The whole line", "A linha inteira"),
    "result.line.help": (
        "As `limiar scan --jsonl` writes it.",
        "Como `limiar scan --jsonl` a grava.",
    ),
    "result.ms": ("Time", "Duração"),
    "result.ms.parts": (
        "decode {decode} ms, resize {resize} ms, infer {infer} ms",
        "decodificar {decode} ms, redimensionar {resize} ms, inferir {infer} ms",
    ),
    "result.taken": ("Taken", "Captado"),
    "result.trailing": ("After the picture", "Depois da imagem"),
    "result.browser": (
        "The browser delivered this picture, not limiar's own decoder: another browser may give other pixels.",
        "Quem entregou esta imagem foi o navegador, não o decodificador do limiar: outro navegador pode dar outros pixels.",
    ),
    "camera.title": ("Camera", "Câmera"),
    "camera.start": ("Start the camera", "Iniciar a câmera"),
    "camera.stop": ("Stop the camera", "Parar a câmera"),
    "camera.which": ("Which camera", "Qual câmera"),
    "camera.kept": ("Kept as answer {id}", "Guardada como resposta {id}"),
    "camera.looking": ("Looking…", "Observando…"),
    "camera.not-agreed": ("The frames do not agree yet.", "Os quadros ainda não concordam."),
    "camera.agreeing": ("{agreeing} of {frames} frames agree", "{agreeing} de {frames} quadros concordam"),
    "camera.view": ("What the camera sees", "O que a câmera vê"),
    "camera.ready": (
        "The model answers each frame. What {agree} of {of} frames agree on is kept, with a small picture; "
        "if it stays the same, once a minute.",
        "O modelo responde a cada quadro. O que {agree} de {of} quadros concordam é guardado, com uma imagem pequena; "
        "se não mudar, uma vez por minuto.",
    ),
    "camera.browser": (
        "A camera's pixels come from the browser, which the golden images cannot check.",
        "Os pixels da câmera vêm do navegador, e as imagens de referência não podem verificá-los.",
    ),
    "camera.rate": ("{rate} answers a second", "{rate} respostas por segundo"),
    "camera.failed": ("The camera does not work", "A câmera não funciona"),
    "model.title": ("Model", "Modelo"),
    "model.proof": ("What was checked at this start", "O que foi verificado neste início"),
    "model.proof.files": ("Files of page and bundle", "Arquivos da página e do pacote"),
    "model.proof.files.said": ("each has the sha256 that was written at build", "cada um tem o sha256 gravado na geração"),
    "model.proof.signature": ("Signature", "Assinatura"),
    "model.proof.signed": ("signed by {key}", "assinado por {key}"),
    "model.proof.unsigned": ("not signed", "não assinado"),
    "model.proof.unchecked": ("not checked", "não verificada"),
    "model.proof.golden": ("Golden images", "Imagens de referência"),
    "model.proof.golden.said": (
        "{n} of {n}: the same model input and the desktop's answers",
        "{n} de {n}: a mesma entrada do modelo e as respostas do desktop",
    ),
    "model.proof.time": ("Time", "Duração"),
    "model.proof.seconds": (
        "{all} s: files {files} s, loading {load} s, golden images {golden} s",
        "{all} s: arquivos {files} s, carregar {load} s, imagens de referência {golden} s",
    ),
    "model.what": ("What answers", "O que responde"),
    "model.labels": ("Labels", "Rótulos"),
    "model.rule": ("Decision", "Decisão"),
    "model.rule.refer": (
        "the most probable label, or a person if its probability is below {below}",
        "o rótulo mais provável, ou uma pessoa se a probabilidade dele for menor que {below}",
    ),
    "model.rule.plain": ("by the rule of the bundle", "pela regra do pacote"),
    "model.input": ("Model input", "Entrada do modelo"),
    "model.card": ("The bundle's card", "A ficha do pacote"),
    "model.card.none": ("The bundle has no card.", "O pacote não tem ficha."),
    "settings.title": ("Settings", "Ajustes"),
    "settings.kept": ("Kept on this device", "Guardado neste aparelho"),
    "settings.kept.count.one": ("{n} answer", "{n} resposta"),
    "settings.kept.count.other": ("{n} answers", "{n} respostas"),
    "settings.kept.size": ("{used} used", "{used} em uso"),
    "settings.persisted": (
        "The browser promised not to clear this storage by itself.",
        "O navegador prometeu não limpar este espaço por conta própria.",
    ),
    "settings.not-persisted": (
        "The browser may clear this storage if space runs short: export what you need.",
        "O navegador pode limpar este espaço se faltar lugar: exporte o que for importante.",
    ),
    "settings.persist": ("Ask the browser to keep it", "Pedir ao navegador que guarde"),
    "settings.delete": ("Delete all answers", "Apagar todas as respostas"),
    "settings.delete.sure.one": (
        "Delete {n} answer and its small picture from this device? This cannot be undone.",
        "Apagar {n} resposta e sua imagem pequena deste aparelho? Isso não pode ser desfeito.",
    ),
    "settings.delete.sure.other": (
        "Delete {n} answers and their small pictures from this device? This cannot be undone.",
        "Apagar {n} respostas e suas imagens pequenas deste aparelho? Isso não pode ser desfeito.",
    ),
    "settings.delete.yes": ("Delete", "Apagar"),
    "settings.delete.no": ("Keep them", "Manter"),
    "settings.deleted": ("All answers were deleted.", "Todas as respostas foram apagadas."),
    "settings.about": ("About this page", "Sobre esta página"),
    "settings.licences": ("Licences", "Licenças"),
    "settings.licences.help": (
        "What others wrote that this page is made of.",
        "O que outros escreveram e de que esta página é feita.",
    ),
}

WORDS: dict[str, tuple[str, str]] = {key: (common.WORDS | results.WORDS)[key] for key in _TAKEN} | _OWN


def words_json() -> bytes:
    """The page's file of words, with the sentences of the codes that a phone can meet."""
    met = {code: pair for code, pair in codes.CODES.items() if code.startswith(_CODES)}
    return msgspec.json.encode({"words": WORDS, "codes": met})
