type Inputs = readonly unknown[];
/** What it returns is called before the next time, if it is a function. */
type Run = () => void | (() => void);

export function useState<S>(initial: S | (() => S)): [S, (next: S | ((known: S) => S)) => void];
export function useRef<T>(initial: T): { current: T };
export function useMemo<T>(make: () => T, inputs: Inputs): T;
export function useEffect(run: Run, inputs?: Inputs): void;
export function useLayoutEffect(run: Run, inputs?: Inputs): void;
