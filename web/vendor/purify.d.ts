export interface Rules {
  ALLOWED_TAGS: string[];
  ALLOWED_ATTR: string[];
  ALLOWED_URI_REGEXP?: RegExp;
  ALLOW_DATA_ATTR?: boolean;
  ALLOW_ARIA_ATTR?: boolean;
  RETURN_DOM_FRAGMENT: true;
}
declare const DOMPurify: { sanitize(markup: string, rules: Rules): DocumentFragment };
export default DOMPurify;
