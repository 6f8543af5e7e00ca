"""Raw files of the rows of small caches, and the manifests that name them."""

from pathlib import Path

from tests.training.anchors_building import picture, tone

ROWS = 60


def write_media(folder: Path, rows: int = ROWS) -> list[Path]:
    """Images, drawings and texts in one manifest, tones in another; ids are ``image/000`` and so on."""
    folder.mkdir(exist_ok=True)
    lines, tones = ["id,image,strokes,text"], ["id,audio"]
    for row in range(rows):
        (folder / f"{row}.png").write_bytes(picture(row))
        (folder / f"{row}.txt").write_text(f"START\n0,0,1\n{row + 10},-50,2\nBREAK\n")
        (folder / f"{row}.wav").write_bytes(tone(row))
        lines.append(f"image/{row:03d},{row}.png,,")
        lines.append(f"strokes/{row:03d},,{row}.txt,")
        lines.append(f'text/{row:03d},,,"<i>word {row}</i>"')
        tones.append(f"audio/{row:03d},{row}.wav")
    (folder / "seen.csv").write_text("\n".join(lines) + "\n")
    (folder / "heard.csv").write_text("\n".join(tones) + "\n")
    return [folder / "seen.csv", folder / "heard.csv"]
