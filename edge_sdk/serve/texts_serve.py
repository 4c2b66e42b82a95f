"""What the pages of `edge-sdk serve` say, by key: English, French, Chinese.

`said` also knows every key of the reports (screening/texts.py).
"""

from __future__ import annotations

from edge_sdk.screening.segment import NO_SMEAR
from edge_sdk.screening.texts import TABLE, phrase

# fmt: off
SERVE: dict[str, tuple[str, str, str]] = {
    "app": ("Slide screening", "Lecture de lames", "玻片筛查"),
    "skip.link": ("Skip to content", "Aller au contenu", "跳到主要内容"),
    "slides": ("Slides", "Lames", "玻片"),
    "slide": ("Slide", "Lame", "玻片"),
    "language": ("Language", "Langue", "语言"),
    "language.en": ("English", "English", "English"),
    "language.fr": ("Français", "Français", "Français"),
    "language.zh": ("中文", "中文", "中文"),
    "cancel": ("Cancel", "Annuler", "取消"),
    # --- the server is away, or refuses
    "away": (
        "No connection to the server. Trying again …",
        "Pas de connexion au serveur. Nouvel essai…", "无法连接服务器，正在重试……"),
    "back": ("Connected again.", "Connexion rétablie.", "已重新连接。"),
    "failed": ("Not done: {error}", "Non effectué : {error}", "未完成：{error}"),
    "no access": (
        "Access has ended: enter the token again.",
        "L'accès a expiré : saisissez à nouveau le jeton.", "访问已失效：请重新输入令牌。"),
    "home.unreadable": (
        "These slides cannot be read", "Ces lames sont illisibles", "以下玻片无法读取"),
    "fault": ("This cannot be shown", "Impossible d'afficher", "无法显示"),
    "fault.home": ("To the list of slides", "Vers la liste des lames", "返回玻片列表"),
    # --- the way in
    "enter.title": ("Enter", "Entrer", "进入"),
    "enter.token": ("Access token", "Jeton d'accès", "访问令牌"),
    "enter.help": (
        "It stands in the terminal where the server was started.",
        "Il s'affiche dans le terminal où le serveur a été lancé.",
        "令牌显示在启动服务器的终端中。"),
    "enter.go": ("Enter", "Entrer", "进入"),
    "enter.wrong": (
        "That was not the token. Read it again in the terminal.",
        "Ce n'est pas le jeton. Relisez-le dans le terminal.", "令牌不正确。请在终端中重新查看。"),
    # --- home
    "home.go on": (
        "Go on with slide {slide}", "Poursuivre la lame {slide}", "继续玻片 {slide}"),
    "home.open": ("Open slide {slide}", "Ouvrir la lame {slide}", "打开玻片 {slide}"),
    "home.none": ("No slide yet.", "Aucune lame pour l'instant.", "还没有玻片。"),
    "home.counted": (
        "{counted} of {target} red cells counted", "{counted} globules rouges comptés sur {target}",
        "已计数 {counted} / {target} 个红细胞"),
    "home.reviewed": (
        "{done} of {all} flagged cells reviewed", "{done} cellules signalées relues sur {all}",
        "已复核 {done} / {all} 个被标记的细胞"),
    "state.new": ("new", "nouvelle", "新建"),
    "state.capturing": ("counting", "comptage", "计数中"),
    "state.review": ("in review", "en relecture", "复核中"),
    "state.reported": ("reported", "rapport fait", "已出报告"),
    "new": ("New slide", "Nouvelle lame", "新玻片"),
    "new.start": ("Start slide", "Commencer la lame", "开始"),
    "new.making": ("The slide is being prepared …", "Préparation de la lame…", "正在准备……"),
    "new.operator": ("Operator", "Opérateur", "操作者"),
    "new.operator.help": (
        "A short name or number of yours. No patient's name.",
        "Votre nom court ou numéro. Pas de nom de patient.", "您的简称或编号。不要填写患者姓名。"),
    "new.device": ("Microscope or unit", "Microscope ou appareil", "显微镜或设备"),
    "new.report language": ("Language of the report", "Langue du rapport", "报告语言"),
    "new.target": ("Red cells to count", "Globules rouges à compter", "计数目标（红细胞）"),
    "new.blood": ("Blood of the patient", "Sang du patient", "患者血液"),
    "new.blood.none": (
        "Not known (haematocrit 40 % is assumed, and the result says so)",
        "Inconnu (hématocrite de 40 % supposé, le résultat le dit)",
        "未知（假定红细胞压积 40 %，结果中会注明）"),
    "new.blood.count": ("Red cells per µL", "Globules rouges par µL", "每微升红细胞数"),
    "new.blood.haematocrit": ("Haematocrit, %", "Hématocrite, %", "红细胞压积，%"),
    "new.camera": ("Camera", "Caméra", "相机"),
    "new.camera.simulated": (
        "simulated: drawn pictures", "simulated : images dessinées", "simulated：绘制的图像"),
    "new.parasitaemia": (
        "Parasitaemia to draw, %", "Parasitémie à dessiner, %", "绘制的感染红细胞比例，%"),
    "new.more": ("More", "Plus", "更多"),
    "new.diameter": (
        "Diameter of a red cell, pixels (empty: found in each picture)",
        "Diamètre d'un globule rouge, pixels (vide : trouvé dans chaque image)",
        "红细胞直径，像素（留空则逐图测定）"),
    # --- capture
    "capture.title": ("Count slide {slide}", "Compter la lame {slide}", "计数玻片 {slide}"),
    "capture.live": ("Live picture", "Image en direct", "实时图像"),
    "capture.gates": ("Picture quality", "Qualité de l'image", "图像质量"),
    "capture.take": ("Take", "Prendre", "拍摄"),
    "capture.taking": ("Counting …", "Comptage…", "计数中……"),
    "capture.space": ("Space", "Espace", "空格"),
    "capture.skip": ("Skip", "Passer", "跳过"),
    "capture.automatic": ("Automatic", "Automatique", "自动"),
    "capture.automatic.help": (
        "takes every picture whose lights are all green",
        "prend chaque image dont tous les voyants sont verts", "所有指示灯为绿色时自动拍摄"),
    "capture.finish": ("Finish counting", "Terminer", "结束计数"),
    "capture.finish.early": ("Finish now?", "Terminer maintenant ?", "现在结束？"),
    "capture.finish.why": (
        "{counted} of {target} red cells are counted. Fewer cells raise the limit of detection, "
        "and ending as soon as enough are flagged flags more clear slides. Nothing can be counted "
        "afterwards.",
        "{counted} globules rouges comptés sur {target}. Moins de cellules relèvent la limite de "
        "détection, et s'arrêter dès qu'il y a assez de signalements signale plus de lames sans "
        "parasite. Rien ne pourra être compté ensuite.",
        "已计数 {counted} / {target} 个红细胞。细胞越少检出限越高；一旦标记足够就停止，"
        "会使更多无寄生虫的玻片被标记。结束后不能再计数。"),
    "capture.finish.ready": ("End counting?", "Terminer le comptage ?", "结束计数？"),
    "capture.finish.ready why": (
        "The target is reached: {counted} red cells. Nothing can be counted afterwards.",
        "L'objectif est atteint : {counted} globules rouges. Rien ne pourra être compté ensuite.",
        "已达到目标：{counted} 个红细胞。结束后不能再计数。"),
    "capture.finish.go on": ("Go on counting", "Continuer à compter", "继续计数"),
    "capture.ready": (
        "Target reached. Finish counting.", "Objectif atteint : terminez.",
        "已达到目标。请结束计数。"),
    "capture.counts": ("Red cells", "Globules rouges", "红细胞"),
    "capture.red cells": ("red cells", "globules", "红细胞"),
    "capture.of": ("{counted} of {target}", "{counted} sur {target}", "{counted} / {target}"),
    "capture.flagged": ("flagged", "signalé(s)", "被标记"),
    "capture.fields": (
        "Fields: {accepted} counted, {rejected} rejected",
        "Champs : {accepted} comptés, {rejected} rejetés",
        "视野：计数 {accepted}，拒绝 {rejected}"),
    "capture.share": ("Flagged share", "Part signalée", "标记比例"),
    "capture.share.said": (
        "{share} %, 95 % interval {low} to {high} %",
        "{share} %, intervalle à 95 % de {low} à {high} %",
        "{share} %，95 % 区间 {low} 至 {high} %"),
    "capture.share.short": (
        "{share} % ({low} – {high})", "{share} % ({low} – {high})", "{share} %（{low} – {high}）"),
    "capture.share.key": (
        "Dot: share. Bar: Wilson's 95 % interval, not corrected.",
        "Point : part. Barre : intervalle de Wilson à 95 %, non corrigé.",
        "圆点：比例。横条：Wilson 95 % 区间，未校正。"),
    "capture.share.none": ("No cell counted yet.", "Aucune cellule comptée.", "尚未计数细胞。"),
    "capture.needed": (
        "A slide of these cells is flagged from {flags}. It is judged once, at the end.",
        "Avec ces cellules, une lame est signalée à partir de {flags}. Elle est jugée une seule "
        "fois, à la fin.",
        "按目前的细胞数，达到 {flags} 个即标记玻片。仅在结束时判断一次。"),
    "capture.mark": ("from {flags}", "dès {flags}", "{flags} 起"),
    "capture.detection": ("Limit of detection", "Limite de détection", "检出限"),
    "capture.detection.now": ("{limit} per µL", "{limit} par µL", "每微升 {limit}"),
    "capture.detection.key": (
        "Parasites per µL. Shaded: flagged with 95 % probability. More cells lower it, in steps.",
        "Parasites par µL. Ombré : signalé avec une probabilité de 95 %. Plus de cellules "
        "l'abaissent, par paliers.",
        "每微升寄生虫数。阴影：以 95 % 概率被标记。细胞越多越低，呈阶梯状。"),
    "why.no site": (
        "This site is not calibrated: without known-clear slides there is no limit.",
        "Ce site n'est pas étalonné : sans lames connues sans parasite, il n'y a pas de limite.",
        "本站点未校准：没有已知无寄生虫的玻片，就没有检出限。"),
    "capture.detection.none": ("none", "aucune", "无"),
    "capture.last.none": ("Nothing taken yet.", "Rien de pris.", "尚未拍摄。"),
    "capture.last.counted": (
        "Field {field}: {cells} cells, {flagged} flagged.",
        "Champ {field} : {cells} cellules, {flagged} signalée(s).",
        "视野 {field}：{cells} 个细胞，标记 {flagged} 个。"),
    "capture.last.rejected": (
        "Field {field} not counted. {why}", "Champ {field} non compté. {why}",
        "视野 {field} 未计数。{why}"),
    "capture.overtaken": (
        "The picture changed just then: nothing was taken. Take again.",
        "L'image venait de changer : rien n'a été pris. Reprenez.",
        "画面刚刚变化：未拍摄。请重拍。"),
    "capture.not ready": ("Not taken. {why}", "Non prise. {why}", "未拍摄。{why}"),
    "capture.skipped": ("Skipped.", "Passée.", "已跳过。"),
    "capture.auto on": (
        "Automatic is on: pictures with green lights are taken.",
        "Automatique activé : les images aux voyants verts sont prises.",
        "自动已开启：绿灯图像将自动拍摄。"),
    "capture.auto off": ("Automatic is off.", "Automatique désactivé.", "自动已关闭。"),
    "camera.starting": ("The camera is starting …", "La caméra démarre…", "相机正在启动……"),
    "camera.waiting": (
        "Waiting for a picture …", "En attente d'une image…", "正在等待图像……"),
    "camera.gone": (
        "The camera does not answer. Check its cable; it is looked for again.",
        "La caméra ne répond pas. Vérifiez son câble ; elle est recherchée.",
        "相机无响应。请检查连接线；正在重新查找。"),
    "camera.ended": ("No more pictures.", "Plus d'images.", "没有更多图像。"),
    "light.focus": ("Focus", "Netteté", "对焦"),
    "light.exposure": ("Light", "Lumière", "光线"),
    "light.density": ("Cells", "Cellules", "细胞"),
    "light.duplicate": ("New field", "Inédit", "新视野"),
    "light.stain": ("Stain", "Couleur", "染色"),
    "light.picture": ("Picture", "Image", "图像"),
    "light.pass": ("good", "bon", "合格"),
    "light.fail": ("not yet", "à revoir", "不合格"),
    "light.not judged": ("not judged", "non jugé", "未判断"),
    "light.all": (
        "All lights green: take the picture.", "Tous les voyants sont verts : prenez l'image.",
        "指示灯全绿：请拍摄。"),
    # --- review and report
    "review.title": ("Review of flagged cells", "Relecture des cellules signalées",
                     "复核被标记的细胞"),
    "review.confirm": ("Confirm", "Confirmer", "确认"),
    "review.reject": ("Reject", "Rejeter", "排除"),
    "review.unsure": ("Unsure", "Incertain", "不确定"),
    "review.clear": ("Clear", "Effacer", "清除"),
    "review.left": (
        "Cells not looked at: {left}. Finish all the same?",
        "Cellules non examinées : {left}. Terminer quand même ?",
        "尚有 {left} 个细胞未查看。仍要完成吗？"),
    "review.keys": (
        "Keys: 1 confirm, 2 reject, 3 unsure, 0 clear, arrows move",
        "Touches : 1 confirmer, 2 rejeter, 3 incertain, 0 effacer, flèches pour se déplacer",
        "按键：1 确认，2 排除，3 不确定，0 清除，方向键移动"),
    "review.progress": ("{done} of {all} looked at", "{done} sur {all} examinées",
                        "已查看 {done} / {all}"),
    "review.saved": ("saved", "enregistré", "已保存"),
    "review.stale": (
        "Not saved: changed elsewhere in the meantime; the page was brought up to date.",
        "Non enregistré : changé ailleurs entre-temps ; la page a été mise à jour.",
        "未保存：期间已在别处更改；页面已更新。"),
    "review.of": ("Review slide {slide}", "Relire la lame {slide}", "复核玻片 {slide}"),
    "review.to report": ("Finish and report", "Terminer et faire le rapport", "完成并出报告"),
    "review.left.title": ("Finish the review?", "Terminer la relecture ?", "结束复核？"),
    "review.go on": ("Go on reviewing", "Continuer la relecture", "继续复核"),
    "review.waiting": (
        "Not saved yet: {left}", "Pas encore enregistrés : {left}", "尚未保存：{left}"),
    "review.writing": ("The report is being written …", "Rédaction du rapport…", "正在生成报告……"),
    "review.none": (
        "No cell was flagged: there is nothing to review.",
        "Aucune cellule signalée : il n'y a rien à relire.", "没有细胞被标记：无需复核。"),
    "review.selected": ("Selected cell", "Cellule choisie", "所选细胞"),
    "report.of": ("Result of slide {slide}", "Résultat de la lame {slide}", "玻片 {slide} 的结果"),
    "report.files": ("Report", "Rapport", "报告"),
    "report.html": ("Full report, a page", "Rapport complet, une page", "完整报告（网页）"),
    "report.csv": ("Flagged cells, CSV", "Cellules signalées, CSV", "被标记的细胞（CSV）"),
    "report.json": ("Result, JSON", "Résultat, JSON", "结果（JSON）"),
    "report.fhir": ("Result, FHIR bundle", "Résultat, lot FHIR", "结果（FHIR 数据包）"),
    "report.sums": ("Checksums, SHA-256", "Empreintes, SHA-256", "校验和（SHA-256）"),
    "report.print": ("Print, or save as PDF", "Imprimer ou enregistrer en PDF", "打印或存为 PDF"),
    "report.print.how": (
        "Opens the full report: choose Print in the browser's menu, there “Save as PDF”.",
        "Ouvre le rapport complet : choisissez Imprimer dans le menu du navigateur, puis "
        "« Enregistrer en PDF ».",
        "打开完整报告：请在浏览器菜单中选择“打印”，再选“存为 PDF”。"),
    "report.next": ("Start the next slide", "Commencer la lame suivante", "开始下一张玻片"),
    "report.fields": ("fields counted", "champs comptés", "计数视野"),
    "report.rejected": ("fields rejected", "champs rejetés", "被拒视野"),
    "report.reviewed": ("cells reviewed", "cellules relues", "已复核细胞"),
    "report.target": ("aimed for", "visés", "目标"),
}

# What gates ask of the operator, by their English words (screening/gates.py): a test compares them.
INSTRUCTIONS: tuple[tuple[str, str, str], ...] = (
    ("The picture is blurred. Focus until the cells' edges are sharp, then take it again.",
     "L'image est floue. Faites la mise au point jusqu'à ce que les bords des cellules soient "
     "nets, puis reprenez-la.",
     "图像模糊。请调焦至细胞边缘清晰后重拍。"),
    ("The picture is too dark. Turn up the lamp or lengthen the exposure.",
     "L'image est trop sombre. Augmentez la lampe ou allongez la pose.",
     "图像过暗。请调亮光源或延长曝光。"),
    ("The picture is too bright. Turn down the lamp or shorten the exposure.",
     "L'image est trop claire. Baissez la lampe ou raccourcissez la pose.",
     "图像过亮。请调暗光源或缩短曝光。"),
    ("Too few cells. Move to a part of the smear where cells lie side by side.",
     "Trop peu de cellules. Allez là où les cellules du frottis sont côte à côte.",
     "细胞过少。请移到涂片中细胞并排分布的部位。"),
    ("Cells lie on one another. Move towards the feathered edge, where they lie apart.",
     "Les cellules se chevauchent. Allez vers le bord effilé, où elles sont séparées.",
     "细胞重叠。请移向涂片尾部羽毛状边缘，细胞彼此分开处。"),
    ("This part of the slide was taken already. Move on by a whole field.",
     "Cette partie de la lame est déjà prise. Avancez d'un champ entier.",
     "此处已拍摄过。请移动一整个视野。"),
    ("The stain or the lamp's colour differs from what the model knows. Check the white "
     "balance, the filter, and the stain's pH and time.",
     "La coloration ou la teinte de la lampe diffère de ce que le modèle connaît. Vérifiez la "
     "balance des blancs, le filtre, et le pH et la durée de la coloration.",
     "染色或光源颜色与模型所知不符。请检查白平衡、滤光片以及染色的 pH 值和时间。"),
    (NO_SMEAR,
     "Ceci ne ressemble pas à un frottis mince : ce qui ressort n'a ni la forme ni la taille "
     "régulière de globules rouges. Vérifiez la mise au point sur une lame colorée et allez là où "
     "les cellules sont séparées.",
     "这不像薄血膜：突出的物体既没有红细胞的形状，也没有一致的大小。请对焦于已染色的涂片，并移到细胞彼此分开处。"),
)
# fmt: on


def said(key: str, language: str, **values: str) -> str:
    """Raises UsageError for a language there is no text in."""
    return phrase(SERVE[key] if key in SERVE else TABLE[key], language, **values)


def instructions(language: str) -> dict[str, str]:
    """What gates ask for, by its English."""
    return {said[0]: phrase(said, language) for said in INSTRUCTIONS}
