"""What a report says, by key: English, French, Chinese."""

# fmt: off
PAGES: dict[str, tuple[str, str, str]] = {
    "title": ("Malaria smear screening", "Dépistage du paludisme sur frottis", "疟疾血涂片筛查"),
    "pair": ("{name}: {value}", "{name} : {value}", "{name}：{value}"),
    "simulated": ("SIMULATED", "SIMULÉ", "模拟"),
    "simulated.why": (
        "Drawn pictures, not a patient's slide. Nothing here says anything about a person.",
        "Images dessinées, pas la lame d'un patient. Rien ici ne concerne une personne.",
        "图像由程序绘制，并非患者玻片。此处内容不代表任何人的情况。"),
    "simulated.drawn": (
        "Parasitaemia asked of the drawing: {share} %.",
        "Parasitémie demandée au dessin : {share} %.", "绘图设定的感染红细胞比例：{share} %。"),
    "preliminary": (
        "Preliminary: not confirmed by an expert.",
        "Provisoire : non confirmé par un expert.", "初步结果：未经专家确认。"),
    "session": ("Session", "Session", "会话"),
    "created": ("started", "début", "开始"),
    "finished": ("counting ended", "fin du comptage", "计数结束"),
    "operator": ("operator", "opérateur", "操作者"),
    "device": ("device", "appareil", "设备"),
    "camera": ("camera", "caméra", "相机"),
    "version": ("program", "programme", "程序"),
    "model": ("model", "modèle", "模型"),
    "runtime": ("interpreter", "interpréteur", "推理引擎"),
    "threshold": (
        "a cell is flagged from probability", "une cellule est signalée à partir de la "
        "probabilité", "细胞标记的概率阈值"),
    "needed": (
        "a slide is flagged from", "une lame est signalée à partir de", "玻片标记所需的细胞数"),
    "needed.of": ("{flags} of {cells} cells", "{flags} sur {cells} cellules",
                  "{cells} 个细胞中 {flags} 个"),
    "site": ("site calibration", "étalonnage du site", "站点校准"),
    "none": ("none", "aucun", "无"),
    "not known": ("not known", "inconnu", "未知"),
    "counts": ("Counts", "Comptages", "计数"),
    "counts.caption": (
        "Red cells flagged, with Wilson's 95 % interval; not corrected",
        "Globules rouges signalés, intervalle de Wilson à 95 % ; non corrigé",
        "被标记的红细胞，附 Wilson 95 % 区间；未校正"),
    "flagged": ("flagged", "signalés", "标记"),
    "counted": ("counted", "comptés", "计数"),
    "interval": ("95 % interval", "intervalle à 95 %", "95 % 区间"),
    "raw": ("raw, as the model flagged", "brut, selon le modèle", "原始（模型标记）"),
    "reviewed": (
        "reviewed, without rejected cells", "relu, sans les cellules rejetées",
        "复核后（去除已排除细胞）"),
    "reviewed.not": (
        "Not reviewed by a person.", "Non relu par une personne.", "未经人工复核。"),
    "verdicts": ("Verdicts", "Avis", "判定"),
    "estimate": (
        "Estimate and limits", "Estimation et limites", "估计与界限"),
    "estimate.caption": (
        "Corrected for this site's false flags (Rogan and Gladen), by the raw count",
        "Corrigé des faux signalements de ce site (Rogan et Gladen), selon le comptage brut",
        "按本站点误标率校正（Rogan-Gladen），依据原始计数"),
    "estimate.refused": (
        "No quantity is given: this site has no calibration, or no cell was counted.",
        "Aucune quantité n'est donnée : ce site n'a pas d'étalonnage, ou aucune cellule n'a été "
        "comptée.", "不给出定量结果：本站点未校准，或未计数任何细胞。"),
    "parasitaemia": ("parasitaemia", "parasitémie", "感染红细胞比例"),
    "per ul": ("parasites per uL", "parasites par µL", "每微升寄生虫数"),
    "estimated": ("estimate", "estimation", "估计值"),
    "blank": ("limit of blank", "limite du blanc", "空白限"),
    "detection": ("limit of detection", "limite de détection", "检出限"),
    "red cells": ("red cells per uL", "globules rouges par µL", "每微升红细胞数"),
    "origin.count": ("from the patient's count", "selon la numération du patient", "据患者计数"),
    "origin.haematocrit": (
        "from the patient's haematocrit", "selon l'hématocrite du patient", "据患者红细胞压积"),
    "origin.assumed": (
        "assumed, haematocrit 40 %", "supposé, hématocrite 40 %", "假定红细胞压积 40 %"),
    "plot.shares": (
        "Share of red cells, %", "Part des globules rouges, %", "占红细胞的比例，%"),
    "plot.shares.said": (
        "Dots are shares, bars their 95 % intervals, dashed lines the limits.",
        "Points : parts ; barres : intervalles à 95 % ; tirets : limites.",
        "圆点为比例，横线为 95 % 区间，虚线为界限。"),
    "plot.corrected": ("corrected", "corrigé", "校正"),
    "plot.raw": ("raw", "brut", "原始"),
    "plot.reviewed": ("reviewed", "relu", "复核后"),
    "plot.fields": (
        "Red cells counted, by field", "Globules rouges comptés, par champ", "各视野计数的红细胞"),
    "plot.fields.said": (
        "Bars are counted cells, x is a rejected field.",
        "Barres : cellules comptées ; x : champ rejeté.", "柱为计数细胞，x 为被拒视野。"),
    "field": ("field", "champ", "视野"),
    "fields": ("Fields", "Champs", "视野"),
    "fields.summary": (
        "{taken} taken, {accepted} accepted, {rejected} rejected. Rejected fields are in no count.",
        "{taken} pris, {accepted} acceptés, {rejected} rejetés. Les champs rejetés ne sont dans "
        "aucun comptage.",
        "共拍摄 {taken} 个，接受 {accepted} 个，拒绝 {rejected} 个。被拒视野不计入任何计数。"),
    "fields.all": ("All fields", "Tous les champs", "所有视野"),
    "fields.rejected": ("Rejected fields and why", "Champs rejetés et pourquoi", "被拒视野及原因"),
    "taken": ("taken", "pris à", "拍摄时间"),
    "accepted": ("accepted", "accepté", "接受"),
    "rejected.field": ("rejected", "rejeté", "拒绝"),
    "state": ("state", "état", "状态"),
    "cells": ("red cells", "globules rouges", "红细胞"),
    "why": ("why", "pourquoi", "原因"),
    "measured": ("measured {value}, limit {limit}", "mesuré {value}, limite {limit}",
                 "测得 {value}，界限 {limit}"),
    "gate.focus": ("out of focus", "mise au point insuffisante", "对焦不清"),
    "gate.exposure": ("too dark or too bright", "trop sombre ou trop clair", "过暗或过亮"),
    "gate.density": (
        "too few or too many cells", "trop peu ou trop de cellules", "细胞过少或过密"),
    "gate.duplicate": ("taken before", "déjà pris", "重复视野"),
    "gate.stain": (
        "stain colour outside the calibrated range", "couleur hors de la plage étalonnée",
        "染色颜色超出校准范围"),
    "gate.picture": (
        "no usable picture of a smear", "pas d'image utilisable d'un frottis",
        "没有可用的血涂片图像"),
    "gallery": ("Flagged cells", "Cellules signalées", "被标记的细胞"),
    "gallery.none": ("No cell was flagged.", "Aucune cellule signalée.", "没有细胞被标记。"),
    "gallery.some": (
        "The {shown} of {all} with the highest probability; all are in cells.csv.",
        "Les {shown} plus probables sur {all} ; toutes sont dans cells.csv.",
        "显示概率最高的 {shown} 个，共 {all} 个；全部见 cells.csv。"),
    "gallery.how": (
        "By probability. The frame is the field, the dot the cell's place in it.",
        "Par probabilité. Le cadre est le champ, le point la place de la cellule.",
        "按概率排列。方框为视野，圆点为细胞位置。"),
    "thumbnail.gone": ("picture removed", "image supprimée", "图片已清除"),
    "cell": ("cell", "cellule", "细胞"),
    "probability": ("probability", "probabilité", "概率"),
    "verdict": ("verdict", "avis", "判定"),
    "verdict.confirmed": ("confirmed", "confirmée", "确认"),
    "verdict.rejected": ("rejected", "rejetée", "排除"),
    "verdict.unsure": ("unsure", "incertaine", "不确定"),
    "verdict.none": ("not looked at", "non examinée", "未查看"),
    "overrides": ("Changes by a person", "Changements par une personne", "人工更改"),
    "overrides.none": ("None.", "Aucun.", "无。"),
    "overrides.some": (
        "The last {shown} of {all}; all are in result.json.",
        "Les {shown} derniers sur {all} ; tous sont dans result.json.",
        "显示最近 {shown} 条，共 {all} 条；全部见 result.json。"),
    "time": ("time", "heure", "时间"),
    "was": ("was", "avant", "之前"),
    "now": ("now", "après", "之后"),
    "place in field": ("place in the field", "place dans le champ", "视野中的位置"),
    "limits": ("What this result cannot say", "Ce que ce résultat ne peut pas dire",
               "本结果不能说明什么"),
    "limit.confirm": (
        "It does not replace an expert's reading of the slide or an RDT. Whatever it says, a "
        "person with signs of illness needs both considered.",
        "Il ne remplace ni la lecture de la lame par un expert ni un TDR. Quoi qu'il dise, une "
        "personne qui a des signes de maladie doit y avoir accès.",
        "不能代替专家阅片或 RDT。无论结果如何，有症状者都应考虑这两项检查。"),
    "limit.absence": (
        "“Not detected” is not “free of parasites”: below the limit printed with it, parasites can "
        "be there and go unseen.",
        "« Non détecté » ne veut pas dire « sans parasite » : sous la limite imprimée, il peut y "
        "en avoir qui ne sont pas vus.",
        "“未检出”不等于“没有寄生虫”：低于所示检出限时，寄生虫可能存在而未被发现。"),
    "limit.flagged": (
        "“Flagged” is a reason to look, not a finding: clear cells are flagged too, at the rate "
        "that the calibration measured.",
        "« Signalée » est une raison de regarder, pas une conclusion : des cellules sans parasite "
        "le sont aussi, au taux que l'étalonnage a mesuré.",
        "“已标记”只是需要查看的理由，并非结论：无寄生虫的细胞也会按校准测得的比率被标记。"),
    "limit.species": (
        "Species and stage of a parasite are not told apart.",
        "L'espèce et le stade d'un parasite ne sont pas distingués.",
        "不区分寄生虫的种类和发育阶段。"),
    "limit.thin": (
        "Thin films only; interval and limits hold for slides stained and photographed as those "
        "of the calibration.",
        "Frottis minces seulement ; intervalle et limites valent pour des lames colorées et "
        "photographiées comme celles de l'étalonnage.",
        "仅适用于薄血膜；区间和界限只对与校准玻片同样染色和拍摄的玻片成立。"),
    "notes": ("How to read it", "Comment le lire", "如何解读"),
    "hashes": ("Traceability", "Traçabilité", "可追溯性"),
    "hash.model": ("model file", "fichier du modèle", "模型文件"),
    "hash.rule": ("rule with its thresholds", "règle et ses seuils", "规则及阈值"),
    "hash.site": ("site calibration", "étalonnage du site", "站点校准"),
    "hash.audit": ("audit log, {entries} entries", "journal d'audit, {entries} entrées",
                   "审计日志，{entries} 条"),
    "hash.key": ("key that signed the list", "clé qui a signé la liste", "对清单签名的密钥"),
    "unsigned": ("none, unsigned", "aucune, non signée", "无，未签名"),
    "hash.how": (
        "SHA-256. The list of all files with theirs is in SHA256SUMS: `sha256sum -c SHA256SUMS`.",
        "SHA-256. La liste de tous les fichiers et de leurs empreintes est dans SHA256SUMS : "
        "`sha256sum -c SHA256SUMS`.",
        "SHA-256。所有文件的哈希见 SHA256SUMS：`sha256sum -c SHA256SUMS`。"),
    "signature": ("Reviewed by (name, date, signature)", "Relu par (nom, date, signature)",
                  "复核人（姓名、日期、签名）"),
}
