/** A share of the row's full width, drawn; the number stands beside it. */
export function Bar({ share }: { share: number }) {
  const width = `${Math.min(Math.max(share, 0), 1) * 100}%`;
  return (
    <span className="bar" aria-hidden="true">
      <span style={{ width }} />
    </span>
  );
}
