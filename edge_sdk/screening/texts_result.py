"""What is said of a slide's result, by key: English, French, Chinese.

The English is that of slide.py, word for word: a test compares them.
"""

# fmt: off
RESULT: dict[str, tuple[str, str, str]] = {
    "label": (
        "Screening aid for research; not a medical device; confirm by expert microscopy or RDT.",
        "Aide au dépistage pour la recherche ; n'est pas un dispositif médical ; à confirmer par "
        "microscopie experte ou TDR.",
        "仅供研究的筛查辅助工具；不是医疗器械；须由专家镜检或 RDT 确认。"),
    "outcome.flagged": ("flagged", "signalée", "已标记"),
    "outcome.not detected": (
        "not detected above {limit} per uL",
        "non détecté au-dessus de {limit} par µL",
        "高于每微升 {limit} 的水平未检出"),
    "outcome.insufficient": ("insufficient", "insuffisant", "不足以判断"),
    "seen": (
        "{flagged} of {counted} red cells flagged",
        "{flagged} globules rouges signalés sur {counted}",
        "{counted} 个红细胞中标记了 {flagged} 个"),
    "statement.flagged": (
        "flagged: {seen}, {needed} flag a slide",
        "signalée : {seen}, une lame est signalée à partir de {needed}",
        "已标记：{seen}，达到 {needed} 个即标记玻片"),
    "statement.confirmed": (
        "flagged: a person confirmed cells; {seen}, {needed} flag a slide by count",
        "signalée : une personne a confirmé des cellules ; {seen}, une lame est signalée par le "
        "comptage à partir de {needed}",
        "已标记：有人确认了细胞；{seen}，按计数达到 {needed} 个即标记玻片"),
    "statement.not detected": (
        "not detected above {limit} per uL: {seen}, {needed} would flag it",
        "non détecté au-dessus de {limit} par µL : {seen}, elle serait signalée à partir de "
        "{needed}",
        "高于每微升 {limit} 的水平未检出：{seen}，达到 {needed} 个才会标记玻片"),
    "statement.insufficient": (
        "insufficient: {seen}; {why}", "insuffisant : {seen} ; {why}", "不足以判断：{seen}；{why}"),
    "reason.too few cells": (
        "fewer than {cells} red cells: count more fields",
        "moins de {cells} globules rouges : comptez d'autres champs",
        "红细胞少于 {cells} 个：请计数更多视野"),
    "reason.no site calibration": (
        "this site is not calibrated: run `edge-sdk screen calibrate-site` on {slides} or more "
        "known-clear slides; without it there is neither a limit nor a parasitaemia",
        "ce site n'est pas étalonné : lancez `edge-sdk screen calibrate-site` sur au moins "
        "{slides} lames connues sans parasite ; sans cela il n'y a ni limite ni parasitémie",
        "本站点尚未校准：请用至少 {slides} 张已知无寄生虫的玻片运行 "
        "`edge-sdk screen calibrate-site`；否则既无检出限，也无原虫密度"),
    "reason.no limit": (
        "with so few cells, or clear slides so different, no parasitaemia is sure to be flagged: "
        "count more fields, or calibrate the site with more known-clear slides",
        "avec si peu de cellules, ou des lames sans parasite si différentes, aucune parasitémie "
        "n'est sûre d'être signalée : comptez d'autres champs, ou étalonnez le site avec plus de "
        "lames connues sans parasite",
        "细胞太少，或无寄生虫玻片之间差异太大，任何原虫密度都不能保证被标记：请计数更多视野，"
        "或用更多已知无寄生虫的玻片校准站点"),
    "reason.fewer flags than clear": (
        "known-clear slides of this site have more flags: stain, focus or camera have changed; "
        "calibrate the site again",
        "les lames connues sans parasite de ce site ont plus de signalements : la coloration, la "
        "mise au point ou la caméra a changé ; étalonnez à nouveau le site",
        "本站点已知无寄生虫的玻片标记更多：染色、对焦或相机已改变；请重新校准站点"),
    "note.once": (
        "A red cell counts once, however many parasites are in it.",
        "Un globule rouge compte une fois, quel que soit le nombre de parasites qu'il contient.",
        "一个红细胞无论含多少寄生虫，只计一次。"),
    "note.gametocytes": (
        "Gametocytes do not belong in an asexual count. Stages are not told apart: reject "
        "gametocytes in the review.",
        "Les gamétocytes n'entrent pas dans un comptage asexué. Les stades ne sont pas "
        "distingués : rejetez les gamétocytes lors de la relecture.",
        "配子体不计入无性体计数。本工具不区分发育阶段：请在复核时排除配子体。"),
    "note.sensitivity": (
        "Sensitivity per cell is that of {slides} validation patients, not measured at this site.",
        "La sensibilité par cellule est celle de {slides} patients de validation ; elle n'a pas "
        "été mesurée sur ce site.",
        "单细胞灵敏度来自 {slides} 名验证患者，并非在本站点测得。"),
    "note.no site calibration": (
        "{needed} flags needed is by the validation patients' rate: how often clear slides of this "
        "site are flagged is not known.",
        "Le seuil de {needed} signalements vient du taux des patients de validation : on ignore à "
        "quelle fréquence des lames sans parasite de ce site sont signalées.",
        "所需的 {needed} 个标记依据验证患者的比率：本站点无寄生虫玻片被标记的频率未知。"),
    "note.assumed haematocrit": (
        "Red cells per uL are those of a haematocrit of {haematocrit} %, assumed: give the "
        "patient's own.",
        "Les globules rouges par µL sont ceux d'un hématocrite de {haematocrit} %, supposé : "
        "indiquez celui du patient.",
        "每微升红细胞数按红细胞压积 {haematocrit} % 假定：请输入患者本人的数值。"),
    "note.below target": (
        "{counted} of the {target} red cells aimed for: more lower the limit.",
        "{counted} des {target} globules rouges visés : davantage abaisse la limite.",
        "目标 {target} 个红细胞，已计 {counted} 个：多计可降低检出限。"),
    "note.review": (
        "Review: {confirmed} confirmed, {rejected} rejected, {unsure} unsure, {left} not looked "
        "at. Outcome and corrected estimate are by the raw count: the site's false-positive rate "
        "is that of unreviewed cells.",
        "Relecture : {confirmed} confirmées, {rejected} rejetées, {unsure} incertaines, {left} non "
        "examinées. Le résultat et l'estimation corrigée viennent du comptage brut : le taux de "
        "faux signalements du site est celui de cellules non relues.",
        "复核：确认 {confirmed} 个，排除 {rejected} 个，不确定 {unsure} 个，未查看 {left} 个。"
        "结果和校正估计依据原始计数：站点的误标率来自未复核的细胞。"),
    "note.simulated": (
        "Thresholds were chosen on simulated images.",
        "Les seuils ont été choisis sur des images simulées.",
        "阈值是在模拟图像上选定的。"),
}
