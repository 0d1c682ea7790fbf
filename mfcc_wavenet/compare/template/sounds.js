// --- sounds: one plays at a time, with a cursor in its spectrogram ----------------------------------------

for (const player of document.querySelectorAll("audio")) {
  const picture = player.previousElementSibling;
  const [image, cursor] = picture.children;
  const seconds = Number(image.dataset.seconds); // from its left edge to its right edge
  player.onplay = () => {
    for (const other of document.querySelectorAll("audio")) if (other !== player) other.pause();
    follow();
  };
  const follow = () => {
    cursor.style.left = `${(100 * player.currentTime) / seconds}%`;
    if (!player.paused) requestAnimationFrame(follow);
  };
  player.onseeked = follow;
  picture.onclick = (event) => {
    player.currentTime = Math.min((event.offsetX / image.clientWidth) * seconds, player.duration);
    player.play();
  };
}
